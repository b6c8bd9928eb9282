package ecscli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/cmd/internal/cli"
	"github.com/latchkey-ssh/latchkey/keypair"
	"github.com/latchkey-ssh/latchkey/keypair/ecsclient"
)

// creation is what create was told.
type creation struct {
	keyType, group, out string
	tags                []string
}

// keyTypes are those that create can ask for, and how the API calls them. RSA is its default.
var keyTypes = map[string]string{"rsa": "", "ed25519": "ED25519", "ecdsa": "ECDSA"}

func (d *desk) createCommand() *cobra.Command {
	c := creation{}
	cmd := d.command(verb{
		use: "create NAME", short: "Have a key pair made and keep its private key",
		long: `create has the service make a key pair. The private key is to be had this once: it goes
into NAME.pem, readable by nobody else, never over a file that is there. A key pair
whose private key cannot be kept is deleted again.`,
		example: "  latchkey keypair create web\n  latchkey keypair create web --type ed25519 --out ~/.ssh/web.pem",
		args:    cobra.ExactArgs(1), complete: cobra.NoFileCompletions,
		run: func(ctx context.Context, args []string) error { return d.create(ctx, args[0], c) },
	})
	flags := cmd.Flags()
	flags.StringVar(&c.keyType, "type", "rsa", "`type` of key: rsa, ed25519 or ecdsa; the cloud's own service knows rsa alone")
	flags.StringVar(&c.out, "out", "", "`file` for the private key, or - for standard output (default NAME.pem)")
	addNewFlags(cmd, &c.group, &c.tags)
	_ = cmd.RegisterFlagCompletionFunc("type", cobra.FixedCompletions([]string{"rsa", "ed25519", "ecdsa"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// addNewFlags adds the flags of what makes a key pair.
func addNewFlags(cmd *cobra.Command, group *string, tags *[]string) {
	cmd.Flags().StringVar(group, "resource-group", "", "`id` of the resource group")
	cmd.Flags().StringArrayVar(tags, "tag", nil, "a tag, `key=value`; may be given again")
}

// newPair checks what a key pair is to begin with, before anything is asked of the service.
func newPair(name, group string, tags []string) (ecsclient.NewKeyPair, error) {
	if err := checkExact(name); err != nil {
		return ecsclient.NewKeyPair{}, err
	}
	if err := keypair.CheckName(name); err != nil {
		return ecsclient.NewKeyPair{}, cli.UsageError{Err: err}
	}
	parsed, err := parseTags(tags)
	return ecsclient.NewKeyPair{Name: name, ResourceGroupID: group, Tags: parsed}, err
}

// request checks what create was told.
func (c creation) request(name string) (ecsclient.NewKeyPair, error) {
	pair, err := newPair(name, c.group, c.tags)
	if err != nil {
		return pair, err
	}
	keyType, known := keyTypes[c.keyType]
	if !known {
		return pair, cli.UsageError{Err: fmt.Errorf("--type %q: want rsa, ed25519 or ecdsa", c.keyType)}
	}
	pair.KeyType = keyType
	return pair, nil
}

func (d *desk) create(ctx context.Context, name string, c creation) error {
	pair, err := c.request(name)
	if err != nil {
		return err
	}
	if c.out == "-" && d.format != asTable {
		return cli.UsageError{Err: errors.New("--out -: the private key takes the place of any other output")}
	}
	client, err := d.settings.client(d.stderr)
	if err != nil {
		return err
	}
	keep, err := d.keeper(cmp.Or(c.out, name+".pem"))
	if err != nil {
		return err
	}
	defer keep.release()
	created, err := d.make(ctx, client, pair)
	if err != nil {
		return err
	}
	public, err := keepPrivateKey(ctx, keep, created, c.keyType)
	if err != nil {
		return undo(ctx, client, name, err)
	}
	if c.out == "-" {
		d.stdout = d.stderr
	}
	return d.showMade(made{
		Name: name, ID: created.ID, Type: public.Type(), MD5: created.Fingerprint, SHA256: ssh.FingerprintSHA256(public),
		File: keep.name(),
	})
}

// grace is how long the answer to a request that makes something is waited for after an interruption: with the answer
// it can be undone, without it nobody knows.
const grace = 3 * time.Second

// make has the key pair made.
func (d *desk) make(ctx context.Context, client *ecsclient.Client, pair ecsclient.NewKeyPair) (*ecsclient.Created, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	within, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })()
	waiting := d.progress("making the key pair")
	created, err := client.CreateKeyPair(within, pair)
	waiting()
	if perhapsDone(err) {
		err = &explained{err, "the key pair may have been made; nobody has its private key then: latchkey keypair delete " + pair.Name}
	}
	return created, err
}

// perhapsDone tells whether the service may have done what it was asked, in spite of the error.
func perhapsDone(err error) bool {
	var refused *ecsclient.Error
	return errors.Is(err, ecsclient.ErrNoAnswer) || errors.As(err, &refused) && refused.HTTPStatus >= http.StatusInternalServerError
}

// undoTime bounds how long the deletion of a key pair that cannot be kept may take.
const undoTime = 15 * time.Second

// undo deletes what was made, and says so: also when the person who waits has lost patience.
func undo(ctx context.Context, client *ecsclient.Client, name string, reason error) error {
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	if err := client.DeleteKeyPairs(within, []string{name}); err != nil {
		return &explained{
			fmt.Errorf("%w; and the key pair %s could not be deleted again: %w", reason, name, err),
			"nobody has its private key: latchkey keypair delete " + name,
		}
	}
	return &explained{fmt.Errorf("%w; the key pair %s was deleted again", reason, name), ""}
}

// made is a new key pair as JSON.
type made struct {
	Name        string       `json:"name"`
	ID          string       `json:"id,omitempty"`
	Type        string       `json:"type"`
	MD5         string       `json:"md5"`
	SHA256      string       `json:"sha256,omitempty"`
	Certificate *certificate `json:"certificate,omitempty"`
	File        string       `json:"file,omitempty"`
}

func (d *desk) showMade(m made) error {
	switch d.format {
	case asJSON:
		return d.printJSON(m)
	case asNames:
		fmt.Fprintln(d.stdout, cli.Plain(m.Name))
		return nil
	}
	valid := ""
	if m.Certificate != nil {
		valid = m.Certificate.validity(time.Now())
	}
	return d.card([][2]string{
		{"key pair", m.Name},
		{"type", spokenType(m.Type)},
		{"md5", m.MD5},
		{"sha256", m.SHA256},
		{"valid", valid},
		{"private key", m.File},
	})
}
