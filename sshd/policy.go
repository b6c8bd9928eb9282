package sshd

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/latchkey-ssh/latchkey/internal/atomicfile"
	"github.com/latchkey-ssh/latchkey/internal/tree"
)

// DropIn is the file that holds the policy where sshd_config includes its
// folder. The name sorts before every other, because the first value that sshd
// reads wins.
const DropIn = "/etc/ssh/sshd_config.d/00-latchkey.conf"

// Policy is what latchkey asks of sshd. The zero value asks for nothing.
type Policy struct {
	// Closed turns off both methods that carry a password.
	Closed bool
	// Guard repeats it for every Match block: of the blocks that match, the
	// first to set a keyword wins, so a "Match all" ahead of the others holds
	// against all of them.
	Guard bool
	// Keys has sshd ask a command for the keys of one user, whatever else is
	// configured for that user; nobody else is touched.
	Keys KeysCommand
	// keysFile replaces AuthorizedKeysFile for everybody, and keysFileOff takes it
	// from the user of Keys; only ever part of a candidate.
	keysFile    string
	keysFileOff bool
}

const (
	dropInPreamble = `# Written by latchkeyd: a key pair is bound to this instance, so password logon
# is off. Edits are undone; the file goes when the key pair is unbound. See
# latchkey(8), and "latchkey status" for the proof.
`
	// with Keys, and Closed or not
	dropInPreambleBoth = `# Written by latchkeyd: a key pair is bound to this instance, so sshd asks a
# command for the keys of the user below, and password logon is off. Edits are
# undone; the file goes when the key pair is unbound. See latchkey(8), and
# "latchkey status" for the proof.
`
	dropInPreambleKeys = `# Written by latchkeyd: a key pair is bound to this instance, so sshd asks a
# command for the keys of the user below. Edits are undone; the file goes when
# the key pair is unbound. See latchkey(8), and "latchkey status" for the proof.
`
)

// preamble says at the top of the drop-in what it is.
func (p Policy) preamble() string {
	switch {
	case p.keysBlock() == "":
		return dropInPreamble
	case p.Closed:
		return dropInPreambleBoth
	}
	return dropInPreambleKeys
}

// globals are the lines that hold where no Match block does. The third is for
// releases before 8.7, where it is an option of its own.
func (p Policy) globals() string {
	var text strings.Builder
	if p.keysFile != "" {
		fmt.Fprintf(&text, "AuthorizedKeysFile %s\nAuthorizedKeysCommand none\n", p.keysFile)
	}
	if p.Closed {
		text.WriteString("PasswordAuthentication no\nKbdInteractiveAuthentication no\nChallengeResponseAuthentication no\n")
	}
	return text.String()
}

// guard is the Match block that holds against all others.
func (p Policy) guard() string {
	var text strings.Builder
	if p.keysFile != "" {
		fmt.Fprintf(&text, "\tAuthorizedKeysFile %s\n\tAuthorizedKeysCommand none\n", p.keysFile)
	}
	if p.Closed && p.Guard {
		text.WriteString("\tPasswordAuthentication no\n\tKbdInteractiveAuthentication no\n")
	}
	if text.Len() == 0 {
		return ""
	}
	return "Match all\n" + text.String()
}

// keysBlock is the Match block of the user whose keys a command is asked for.
func (p Policy) keysBlock() string {
	if p.keysFileOff {
		return p.Keys.block("\tAuthorizedKeysFile none\n")
	}
	return p.Keys.block("")
}

// empty tells whether the policy asks for nothing.
func (p Policy) empty() bool { return p.globals() == "" && p.keysBlock() == "" }

// dropIn is the policy as a file of its own; nil when it asks for nothing.
func (p Policy) dropIn() []byte {
	if p.empty() {
		return nil
	}
	return []byte(p.preamble() + p.globals() + p.keysBlock() + p.guard())
}

// Files are the two files that a policy can be in.
type Files struct {
	Main   []byte // the main configuration file
	DropIn []byte // nil when there is none

	config string // path of the main file
	text   *Text
	ours   []bool // which lines of the main file of text are ours
}

// maxConfig is far above any real sshd_config.
const maxConfig = 4 << 20

// ReadFiles reads what is there.
func (d *Daemon) ReadFiles() (*Files, error) {
	main, err := readBounded(d.Root, d.Config)
	if err != nil {
		return nil, fmt.Errorf("read sshd's configuration: %w", err)
	}
	dropIn, err := readBounded(d.Root, DropIn)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the drop-in: %w", err)
	}
	text, err := ReadText(d.Root, d.Config)
	if err != nil {
		return nil, err
	}
	return &Files{Main: main, DropIn: dropIn, config: d.Config, text: text, ours: ownLines(main)}, nil
}

// Text is the whole configuration as text.
func (f *Files) Text() *Text { return f.text }

// readBounded reads a regular file of sane size.
func readBounded(root, name string) ([]byte, error) {
	info, err := tree.Stat(root, name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	if info.Size() > maxConfig {
		return nil, fmt.Errorf("%s is larger than %d MiB", name, maxConfig>>20)
	}
	data, err := tree.ReadFile(root, name)
	if data == nil && err == nil {
		data = []byte{}
	}
	return data, err
}

// With returns the files as they have to be for p: p in the one layout that
// has effect, no trace of it in the other, every other byte as it was.
func (f *Files) With(p Policy) *Files {
	next := &Files{Main: withoutBlocks(f.Main), config: f.config, text: f.text, ours: f.ours}
	if p.empty() {
		return next
	}
	switch f.Layout(p) {
	case LayoutDropIn:
		next.DropIn = p.dropIn()
	case LayoutOwnInclude:
		next.DropIn, next.Main = p.dropIn(), withInclude(next.Main)
	case LayoutMainFile:
		next.Main = withBlocks(next.Main, p)
	}
	return next
}

// Equal tells whether both files hold the same bytes.
func (f *Files) Equal(other *Files) bool {
	return bytes.Equal(f.Main, other.Main) && bytes.Equal(f.DropIn, other.DropIn) &&
		(f.DropIn == nil) == (other.DropIn == nil)
}

// Path is the main file's path below Root.
func (f *Files) Path() string { return f.config }

// Foreign is everything in the configuration that is not ours: the main file
// without our blocks and every directive of the files it includes. It is for
// telling whether anything has changed.
func (f *Files) Foreign() any {
	var included []Directive
	for _, d := range f.text.Directives {
		if d.File != f.config && d.File != DropIn {
			included = append(included, d)
		}
	}
	return struct {
		Main     []byte
		Included []Directive
	}{withoutBlocks(f.Main), included}
}

// Write brings the instance's files from what they are to next.
func (d *Daemon) Write(from, next *Files) error {
	if !bytes.Equal(from.Main, next.Main) {
		info, err := tree.Stat(d.Root, d.Config)
		if err != nil {
			return fmt.Errorf("write sshd's configuration: %w", err)
		}
		if err := d.replaceFile(d.Config, next.Main, info.Mode().Perm()); err != nil {
			return fmt.Errorf("write sshd's configuration: %w", err)
		}
	}
	switch {
	case next.DropIn == nil && from.DropIn == nil, bytes.Equal(from.DropIn, next.DropIn) && (from.DropIn == nil) == (next.DropIn == nil):
		return nil
	case next.DropIn == nil:
		if err := tree.Remove(d.Root, DropIn); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("take the drop-in away: %w", err)
		}
		return nil
	}
	folder, err := tree.MakeFolder(d.Root, path.Dir(DropIn), 0o755)
	if err != nil {
		return fmt.Errorf("write the drop-in: %w", err)
	}
	defer folder.Close()
	if err := d.replaceFile(DropIn, next.DropIn, 0o644); err != nil {
		return fmt.Errorf("write the drop-in: %w", err)
	}
	return nil
}

// Sweep removes what writes that were cut off have left beside sshd's files.
func (d *Daemon) Sweep() {
	for _, name := range []string{d.Config, DropIn} {
		if folder, _, err := tree.Place(d.Root, name); err == nil {
			atomicfile.Sweep(folder)
			_ = folder.Close()
		}
	}
}

// replaceFile replaces one of sshd's files. A symbolic link is followed: an
// administrator may keep the main file elsewhere.
func (d *Daemon) replaceFile(name string, data []byte, mode fs.FileMode) error {
	folder, base, err := tree.Place(d.Root, name)
	if err != nil {
		return err
	}
	defer folder.Close()
	return atomicfile.Replace(folder, base, data, mode)
}
