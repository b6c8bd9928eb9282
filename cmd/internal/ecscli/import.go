package ecscli

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-ssh/latchkey/keypair"
)

func (d *desk) importCommand() *cobra.Command {
	var group string
	var tags []string
	cmd := d.command(verb{
		use: "import NAME FILE|-", short: "Make a key pair of a public key that you have",
		long: `import makes a key pair of the public key in FILE, such as ~/.ssh/id_ed25519.pub, or on
standard input. A private key is refused before anything leaves this machine.`,
		example: "  latchkey keypair import web ~/.ssh/id_ed25519.pub\n  ssh-keygen -y -f web.pem | latchkey keypair import web -",
		args:    cobra.ExactArgs(2), complete: completeImport,
		run: func(ctx context.Context, args []string) error { return d.importKey(ctx, args[0], args[1], group, tags) },
	})
	addNewFlags(cmd, &group, &tags)
	return cmd
}

func completeImport(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 1 {
		return []string{"pub"}, cobra.ShellCompDirectiveFilterFileExt
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

func (d *desk) importKey(ctx context.Context, name, file, group string, tags []string) error {
	pair, err := newPair(name, group, tags)
	if err != nil {
		return err
	}
	text, err := d.readPublicKey(file)
	if err != nil {
		return err
	}
	key, err := publicKey(text, file)
	if err != nil {
		return err
	}
	client, err := d.settings.client(d.stderr)
	if err != nil {
		return err
	}
	created, err := client.ImportKeyPair(ctx, pair, key.Line())
	if err != nil {
		return err
	}
	return d.showMade(made{
		Name: name, ID: created.ID, Type: key.Type, MD5: created.Fingerprint, SHA256: key.SHA256(),
		Certificate: certificateIn(key.Line()),
	})
}

// maxPublicKeyFile bounds what is read as a public key, in bytes: the longest RSA keys and certificates have less.
const maxPublicKeyFile = 64 << 10

const standardInput = "standard input"

func (d *desk) readPublicKey(file string) ([]byte, error) {
	if file == "-" {
		return readAtMost(d.stdin, standardInput, maxPublicKeyFile)
	}
	return readSmall(file, maxPublicKeyFile)
}

// privateKeyMarks are what private keys begin with, somewhere: PEM in all its kinds, and PuTTY's.
var privateKeyMarks = []string{"PRIVATE KEY", "PuTTY-User-Key-File"}

// foreignForms are those of public keys that other programs write, by what is in them and in no line of
// authorized_keys, with what makes one line of them.
var foreignForms = []struct{ mark, form, remedy string }{
	{"---- BEGIN SSH2 PUBLIC KEY", "a public key in the form of RFC 4716", "ssh-keygen -i -f %s writes it as one line"},
	{"-----BEGIN PUBLIC KEY", "a public key in the form of PKCS#8", "ssh-keygen -i -m PKCS8 -f %s writes it as one line"},
	{"-----BEGIN RSA PUBLIC KEY", "a public key in the form of PKCS#1", "ssh-keygen -i -m PEM -f %s writes it as one line"},
	{"\xff\xfe", "text in UTF-16", "iconv -f UTF-16 -t UTF-8 %s writes it as UTF-8"},
	{"\xfe\xff", "text in UTF-16", "iconv -f UTF-16 -t UTF-8 %s writes it as UTF-8"},
}

// byteOrderMark is what some editors put before UTF-8.
const byteOrderMark = "\ufeff"

// publicKey is the one key in a file, "-" for standard input. Blank lines and comments beside it are left out.
func publicKey(text []byte, file string) (keypair.PublicKey, error) {
	name := file
	if file == "-" {
		name, file = standardInput, "FILE"
	}
	if err := checkForm(text, name, file); err != nil {
		return keypair.PublicKey{}, err
	}
	var lines []string
	for line := range strings.Lines(strings.TrimPrefix(string(text), byteOrderMark)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	if len(lines) != 1 {
		return keypair.PublicKey{}, fmt.Errorf("%s: want one public key on one line, found %d lines", name, len(lines))
	}
	key, err := keypair.ParsePublicKey(lines[0], time.Now())
	if err != nil {
		return keypair.PublicKey{}, fmt.Errorf("%s: %w", name, err)
	}
	return key, nil
}

// checkForm refuses what is no line of authorized_keys, with what to do about it. name is for a person, and file for a
// command line.
func checkForm(text []byte, name, file string) error {
	for _, mark := range privateKeyMarks {
		if bytes.Contains(text, []byte(mark)) {
			return &explained{
				fmt.Errorf("%s holds a private key: it stays here, nothing was sent", name),
				"import the public half: ssh-keygen -y -f " + file + " | latchkey keypair import NAME -",
			}
		}
	}
	for _, foreign := range foreignForms {
		if bytes.Contains(text, []byte(foreign.mark)) {
			return &explained{fmt.Errorf("%s is %s", name, foreign.form), fmt.Sprintf(foreign.remedy, file)}
		}
	}
	return nil
}
