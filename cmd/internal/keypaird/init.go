package keypaird

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/latchkey-ssh/latchkey/cmd/internal/cli"
	"github.com/latchkey-ssh/latchkey/keypair"
	"github.com/latchkey-ssh/latchkey/keypair/boltstore"
)

func (p *program) initCommand() *cobra.Command {
	var region, endpoint string
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make a region and its first access key",
		Long: `init makes the data folder with an empty region in it, and an access key, which it prints as
the environment variables that Alibaba Cloud's SDKs and "latchkey keypair" read. The secret
is not shown again: "keypaird access-key create" makes another.`,
		Example: "  keypaird init --data ./region > region.env   # umask 077 first: it is a secret\n  . ./region.env",
		RunE:    func(cmd *cobra.Command, _ []string) error { return p.init(cmd.Context(), region, endpoint) },
	}
	cmd.Flags().StringVar(&region, "region", keypair.DefaultRegionID, "the region's `id`")
	cmd.Flags().StringVar(&endpoint, "endpoint", "http://"+defaultListen, "`URL` at which the API will be served: it is only printed")
	return cli.NoArgs(cmd)
}

func (p *program) init(ctx context.Context, id, endpoint string) (err error) {
	if err := keypair.CheckRegionID(id); err != nil {
		return cli.UsageError{Err: fmt.Errorf("--region: %w", err)}
	}
	if err := vacant(p.data); err != nil {
		return err
	}
	store, err := boltstore.Create(p.data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	region, err := keypair.Open(ctx, store, keypair.Options{ID: id})
	if err != nil {
		return err
	}
	defer region.Close()
	key, err := region.CreateAccessKey(ctx, "made by init")
	if err != nil {
		return err
	}
	return p.printAccessKey(key, "ALIBABA_CLOUD_REGION_ID="+region.ID(), "LATCHKEY_ECS_ENDPOINT="+endpoint)
}

// vacant refuses a folder in which a region is already, or anything else.
func vacant(folder string) error {
	entries, err := os.ReadDir(folder)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return os.MkdirAll(filepath.Dir(filepath.Clean(folder)), 0o755)
	case err != nil:
		return err
	case len(entries) > 0:
		return cli.UsageError{Err: fmt.Errorf("%s is not empty: a region is made in a folder of its own", folder)}
	}
	return nil
}

// printAccessKey prints it as a shell reads it, with other settings, or as JSON.
func (p *program) printAccessKey(key keypair.AccessKey, settings ...string) error {
	settings = append([]string{"ALIBABA_CLOUD_ACCESS_KEY_ID=" + key.ID, "ALIBABA_CLOUD_ACCESS_KEY_SECRET=" + key.Secret}, settings...)
	return p.print(key, func(w io.Writer) {
		for _, setting := range settings {
			fmt.Fprintln(w, "export", setting)
		}
	})
}
