package ecscli

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-ssh/latchkey/cmd/internal/cli"
	"github.com/latchkey-ssh/latchkey/keypair"
	"github.com/latchkey-ssh/latchkey/keypair/ecsclient"
)

// shown is a key pair as JSON. What was not asked for is left out.
type shown struct {
	Name          string            `json:"name"`
	Type          string            `json:"type,omitempty"` // with public_key; as in a key line
	MD5           string            `json:"md5"`
	SHA256        string            `json:"sha256,omitempty"`
	PublicKey     string            `json:"public_key,omitempty"`
	Certificate   *certificate      `json:"certificate,omitempty"` // what the public key is, if it is one
	CreatedAt     string            `json:"created_at"`            // RFC 3339, UTC; services tell the minute
	ResourceGroup string            `json:"resource_group_id,omitempty"`
	Tags          map[string]string `json:"tags"`
	Instances     []string          `json:"instances,omitzero"` // to which it is bound

	created time.Time
}

func showing(p ecsclient.KeyPair) shown {
	s := shown{
		Name: p.Name, MD5: p.Fingerprint, PublicKey: p.PublicKey, Certificate: certificateIn(p.PublicKey),
		CreatedAt: timestamp(p.CreatedAt), ResourceGroup: p.ResourceGroupID, Tags: map[string]string{}, created: p.CreatedAt,
	}
	s.Type, s.SHA256 = keyIn(p.PublicKey)
	for _, tag := range p.Tags {
		s.Tags[tag.Key] = tag.Value
	}
	return s
}

// keyIn is the type of a key line and its fingerprint as ssh-keygen shows it, both "" without a key in it.
func keyIn(line string) (keyType, sha256 string) {
	fields := strings.Fields(line)
	if len(fields) < 2 {
		return "", ""
	}
	blob, err := base64.StdEncoding.DecodeString(fields[1])
	if err != nil {
		return "", ""
	}
	return fields[0], keypair.PublicKey{Type: fields[0], Blob: blob}.SHA256()
}

func (d *desk) showCommand() *cobra.Command {
	return d.command(verb{
		use: "show NAME", short: "Show a key pair and where it is bound",
		long: `show shows one key pair: type, fingerprints, public key, tags, and the instances it is
bound to; of a certificate also what it grants, to whom and until when.`,
		example: "  latchkey keypair show web\n  latchkey keypair show web --json | jq -r .public_key",
		args:    cobra.ExactArgs(1), complete: d.completePairs(1),
		run: func(ctx context.Context, args []string) error { return d.showPair(ctx, args[0]) },
	})
}

func (d *desk) showPair(ctx context.Context, name string) error {
	client, err := d.clientFor(name)
	if err != nil {
		return err
	}
	pair, err := find(ctx, client, name)
	if err != nil {
		return err
	}
	bound, err := bindings(ctx, client, name)
	if err != nil {
		return err
	}
	s := showing(pair)
	s.Instances = append([]string{}, bound[name]...)
	return d.showOne(s)
}

// find is the key pair of that name.
func find(ctx context.Context, client *ecsclient.Client, name string) (ecsclient.KeyPair, error) {
	if err := keypair.CheckName(name); err != nil { // a pattern, for one
		return ecsclient.KeyPair{}, cli.UsageError{Err: err}
	}
	for pair, err := range client.KeyPairs(ctx, ecsclient.KeyPairFilter{Name: name, PublicKeys: true}) {
		if err != nil {
			return ecsclient.KeyPair{}, err
		}
		if pair.Name == name {
			return pair, nil
		}
	}
	return ecsclient.KeyPair{}, notFound(name)
}

func notFound(name string) error {
	return &explained{
		errors.New("no key pair of the name " + name + " exists"),
		"latchkey keypair list shows the key pairs of the region",
	}
}

func (d *desk) showOne(s shown) error {
	switch d.format {
	case asJSON:
		return d.printJSON(s)
	case asNames:
		fmt.Fprintln(d.stdout, cli.Plain(s.Name))
		return nil
	}
	rows := [][2]string{
		{"key pair", s.Name}, {"type", spokenType(s.Type)}, {"md5", s.MD5}, {"sha256", s.SHA256}, {"public key", s.PublicKey},
	}
	if s.Certificate != nil {
		rows = append(rows, s.Certificate.rows(time.Now())...)
	}
	return d.card(append(rows,
		[2]string{"created", minute(s.created)},
		[2]string{"group", s.ResourceGroup},
		[2]string{"tags", tagList(s.Tags)},
		[2]string{"bound to", orDash(strings.Join(s.Instances, " "))},
	))
}
