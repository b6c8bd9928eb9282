package operator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/latchkey-ssh/latchkey/authkeys"
	"github.com/latchkey-ssh/latchkey/authkeys/indexer"
	"github.com/latchkey-ssh/latchkey/cmd/internal/cli"
)

func (t *tool) keysFindCommand() *cobra.Command {
	var named []string
	cmd := &cobra.Command{
		Use: "find FINGERPRINT|FILE", Short: "Find the users that a key lets in",
		Long: `find prints the users who have a line with this key, a name a line: the key of the
fingerprint, as ssh-keygen -l shows it, or of the public key file, where - is standard input.
It reads whole indexes.
Exit status 2 means that no line has the key.`,
		Example: "  latchkey keys find SHA256:apuDY6EJo9Q5lSHUCcg8I/XR2YfQT2Jl4WcZeWWrH2g\n  latchkey keys find lost-laptop.pub --json | jq -r '.lines[] | [.index, .user] | @tsv'",
		Args:    takes(cobra.ExactArgs(1)),
		RunE:    func(cmd *cobra.Command, args []string) error { return t.keysFind(cmd.Context(), args[0], named) },
	}
	addIndexFlag(cmd, &named)
	return cmd
}

func (t *tool) keysFind(ctx context.Context, what string, named []string) error {
	fingerprint, err := t.fingerprintOf(ctx, what)
	if err != nil {
		return err
	}
	lines := []indexed{}
	waiting := t.progress("looking for " + fingerprint)
	err = t.inIndexes(named, func(path string) error {
		return indexer.Find(ctx, path, fingerprint, func(f indexer.Found) error {
			line, err := newIndexed(path, f.User, f.Line)
			lines = append(lines, line)
			return err
		})
	})
	waiting()
	if err == nil {
		err = t.printUsers(lines)
	}
	if err == nil && len(lines) == 0 {
		fmt.Fprintf(t.stderr, "latchkey: no line has the key %s%s\n", fingerprint, t.orByAuthority(ctx, named))
		err = cli.ExitError(cli.ExitChanges)
	}
	return interrupted(ctx, err, "")
}

// orByAuthority says, where it may be so, that a key can come in though no line has it.
func (t *tool) orByAuthority(ctx context.Context, named []string) string {
	some := false
	_ = t.inIndexes(named, func(path string) error {
		has, err := indexer.HasAuthority(ctx, path)
		some = some || has
		return err
	})
	if !some {
		return ""
	}
	return "; a certificate of it may come in by a cert-authority line"
}

// printUsers prints each user once.
func (t *tool) printUsers(lines []indexed) error {
	if t.json {
		return printLines(t.stdout, lines)
	}
	printed := map[string]bool{}
	var text strings.Builder
	for _, line := range lines {
		if !printed[line.User] {
			text.WriteString(cli.Plain(line.User) + "\n")
		}
		printed[line.User] = true
	}
	_, err := t.stdout.Write([]byte(text.String()))
	return err
}

// fingerprintOf is the fingerprint that was given, or that of the one key in a file. One that is
// cut short would be found nowhere, and read as an answer.
func (t *tool) fingerprintOf(ctx context.Context, what string) (string, error) {
	if !strings.HasPrefix(what, "SHA256:") {
		return t.fingerprintIn(ctx, what)
	}
	if _, err := indexer.ParseFingerprint(what); err != nil {
		return "", cli.UsageError{Err: err}
	}
	return what, nil
}

func (t *tool) fingerprintIn(ctx context.Context, file string) (string, error) {
	data, err := t.keyFile(ctx, file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", cli.UsageError{Err: fmt.Errorf("%s: no such file; want a public key file, or a fingerprint, SHA256:…", file)}
	}
	if err != nil {
		return "", err
	}
	if file == stdinFile {
		file = "standard input"
	}
	keys := authkeys.Parse(data).Keys()
	if len(keys) != 1 {
		if kind := notPublic(data); kind != "" {
			return "", cli.UsageError{Err: fmt.Errorf("%s: want the file of a public key; this is %s", file, kind)}
		}
		return "", cli.UsageError{Err: fmt.Errorf("%s: want the file of one public key; this has %d", file, len(keys))}
	}
	return keys[0].Fingerprint(), nil
}

// keyFile reads a file, or standard input for as long as ctx is not over.
func (t *tool) keyFile(ctx context.Context, file string) ([]byte, error) {
	if file != stdinFile {
		return os.ReadFile(file)
	}
	var data []byte
	err := awaited(ctx, func() (err error) {
		data, err = io.ReadAll(t.stdin)
		return err
	})
	if err != nil {
		return nil, err
	}
	return data, nil
}

// notPublic says what else of a key a file holds.
func notPublic(data []byte) string {
	first, _, _ := bytes.Cut(bytes.TrimSpace(data), []byte("\n"))
	word, _, _ := bytes.Cut(first, []byte(" "))
	switch {
	case bytes.HasPrefix(first, []byte("-----BEGIN ")) && bytes.Contains(first, []byte("PRIVATE KEY")):
		return "a private key: take its public half, mostly in the file of that name with .pub"
	case bytes.HasSuffix(word, []byte("-cert-v01@openssh.com")):
		return "a certificate: take the public key that it was made for, or that of its CA"
	}
	return ""
}
