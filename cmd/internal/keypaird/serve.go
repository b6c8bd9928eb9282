package keypaird

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os/exec"

	"github.com/spf13/cobra"

	"github.com/latchkey-ssh/latchkey/cmd/internal/cli"
	"github.com/latchkey-ssh/latchkey/keypair"
	"github.com/latchkey-ssh/latchkey/keypair/boltstore"
	"github.com/latchkey-ssh/latchkey/keypair/ecsapi"
	"github.com/latchkey-ssh/latchkey/keypair/imds"
	"github.com/latchkey-ssh/latchkey/keypair/manage"
	"github.com/latchkey-ssh/latchkey/keypair/memstore"
	"github.com/latchkey-ssh/latchkey/systemd"
)

// service is what a region is served by.
type service struct {
	memory           bool
	region           string
	listen           string
	certificate, key string
	plain            bool
	metadata         []string
	hook             string
}

// defaultListen is where the API is.
const defaultListen = "127.0.0.1:8440"

// ready is the line that keypaird prints once it can be asked.
type ready struct {
	Endpoint  string     `json:"endpoint"`             // of the ECS API, a URL
	Region    string     `json:"region"`               //
	Metadata  []imdsAt   `json:"metadata"`             //
	Manage    string     `json:"manage,omitempty"`     // path of the management socket
	AccessKey *accessKey `json:"access_key,omitempty"` // with --memory: the one there is
}

// imdsAt is a listener of the metadata endpoint.
type imdsAt struct {
	InstanceID string `json:"instance_id,omitempty"` // whose it is; empty: of whoever asks, by source address
	Endpoint   string `json:"endpoint"`              // a URL
}

type accessKey struct {
	ID     string `json:"id"`
	Secret string `json:"secret"`
}

func (p *program) serveCommand() *cobra.Command {
	var s service
	cmd := &cobra.Command{
		Use:   "keypaird",
		Short: "A region of SSH key pairs: the ECS API, and the metadata endpoint of its instances",
		Long: `keypaird keeps SSH key pairs and which instances they are bound to. It answers ECS's API
(version 2014-05-26, as Alibaba Cloud's SDKs and "latchkey keypair" speak it) and is the
metadata endpoint of the region's instances, which they learn their key from.

"keypaird init" makes a region and its first access key; then keypaird serves it until
it is told to end, and prints one line of JSON when it can be asked. Instances are
registered with "keypaird instance add".

An instance is known to the metadata endpoint by its source address (--imds ADDRESS), or by a listener of its
own (--imds ID=ADDRESS, which also registers the instance if it is not there).

The --restart-hook is run with PATH, HOME, LANG, TZ and TMPDIR of keypaird's environment, and LATCHKEY_INSTANCE_ID; 16 of
them are at once at most.

Exit status: 0 done, 1 failed, 64 wrong usage, 77 not permitted.`,
		Example: `  keypaird init --data ./region > region.env
  keypaird --data ./region --listen 127.0.0.1:8440 --imds i-web1=127.0.0.1:9001

  # for a test: nothing is kept, free ports, an access key in the line it prints
  keypaird --memory --listen 127.0.0.1:0 --imds i-web1=127.0.0.1:0 --manage ./manage.sock
  keypaird --manage ./manage.sock instance misbehave i-web1 timeout`,
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if s.memory && cmd.Flags().Changed("data") {
			return cli.UsageError{Err: errors.New("--memory keeps nothing: it does not go with --data")}
		}
		return p.serve(cmd.Context(), s)
	}
	flags := cmd.Flags()
	flags.BoolVar(&s.memory, "memory", false, "keep nothing: the region goes with the program")
	flags.StringVar(&s.region, "region", "", "the region's `id` (default what init gave it, or \"local\" with --memory)")
	flags.StringVar(&s.listen, "listen", defaultListen, "`address` of the ECS API; port 0 is a free one")
	flags.StringVar(&s.certificate, "tls-cert", "", "certificate `file` (PEM) of the ECS API")
	flags.StringVar(&s.key, "tls-key", "", "private key `file` (PEM) of that certificate")
	flags.BoolVar(&s.plain, "insecure-http", false, "serve the ECS API without TLS on other addresses than loopback")
	flags.StringArrayVar(&s.metadata, "imds", nil, "`[ID=]ADDRESS` of the metadata endpoint; may be given several times")
	flags.StringVar(&s.hook, "restart-hook", "", "`program` that restarts an instance: run with its id, and \"force\" where that is asked for")
	_ = cmd.MarkFlagFilename("tls-cert")
	_ = cmd.MarkFlagFilename("tls-key")
	_ = cmd.MarkFlagFilename("restart-hook")
	return cmd
}

func (p *program) serve(ctx context.Context, s service) (err error) {
	log := slog.New(systemd.NewLogHandler(p.stderr))
	store, err := p.open(s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	options, err := p.regionOptions(s, log)
	if err != nil {
		return err
	}
	region, err := keypair.Open(ctx, store, options)
	if err != nil {
		return err
	}
	defer region.Close()

	metadata := imds.NewService(imds.Options{})
	stop, err := follow(ctx, region, metadata, log)
	if err != nil {
		return err
	}
	defer stop()
	return p.listenAndServe(ctx, s, region, metadata, log)
}

// regionOptions are what the flags say of the region itself.
func (p *program) regionOptions(s service, log *slog.Logger) (keypair.Options, error) {
	options := keypair.Options{ID: s.region, Report: func(instance string, err error) {
		log.Error("restart", "instance_id", instance, "error", err)
	}}
	if s.hook == "" {
		return options, nil
	}
	program, err := exec.LookPath(s.hook)
	if err != nil {
		return options, cli.UsageError{Err: fmt.Errorf("--restart-hook: %w", err)}
	}
	options.Restart = hook{program, p.stderr}.restart
	return options, nil
}

// open opens the region's store. Only init makes one: an empty region in the place of one that is lost would
// tell the instances that nothing is bound to them, and they would open their passwords.
func (p *program) open(s service) (keypair.Store, error) {
	if s.memory {
		return memstore.New(), nil
	}
	store, err := boltstore.Open(p.data)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, cli.UsageError{Err: fmt.Errorf("%w; if there should be one, put it back, "+
			"else make an empty one with: keypaird init --data %s", err, p.data)}
	}
	if err != nil {
		return nil, err
	}
	return store, nil
}

func (p *program) listenAndServe(ctx context.Context, s service, region *keypair.Region, metadata *imds.Service, log *slog.Logger) error {
	servers, err := newServers(len(s.metadata), log)
	if err != nil {
		return err
	}
	defer servers.close()
	defer metadata.Close() // what waits there would keep its server from ending
	line := ready{Region: region.ID(), Metadata: []imdsAt{}}
	api, err := servers.addAPI(s, ecsapi.New(region, ecsapi.Options{Log: log}))
	if err != nil {
		return err
	}
	line.Endpoint = api
	for _, where := range s.metadata {
		at, err := servers.addMetadata(ctx, where, region, metadata)
		if err != nil {
			return err
		}
		line.Metadata = append(line.Metadata, at)
	}
	if !s.memory || p.manage != "" {
		line.Manage = p.socket()
		if err := servers.addManagement(line.Manage, manage.NewHandler(region, metadata, log)); err != nil {
			return err
		}
	}
	if s.memory {
		key, err := region.CreateAccessKey(ctx, "of this run")
		if err != nil {
			return err
		}
		line.AccessKey = &accessKey{key.ID, key.Secret}
	}
	if err := json.NewEncoder(p.stdout).Encode(line); err != nil {
		return err
	}
	return servers.run(ctx)
}
