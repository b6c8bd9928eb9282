package sshd

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/latchkey-ssh/latchkey/internal/atomicfile"
)

// Candidate is a configuration that no listener has: the files as they would
// be, somewhere else. What sshd -t, -T and -i say of it, they would say of the
// instance once it were in place.
type Candidate struct {
	// Config is the main file's path below Root.
	Config string
	// Logon is a second main file, the same but for one thing: only Key logs in.
	Logon string
	Key   OneTimeKey
}

// names below RunDir/candidate. They are fixed, since only one applier runs at
// a time; what a crash left behind is written over.
const (
	candidateConfig = "sshd_config"
	candidateDropIn = "00-latchkey.conf"
	logonConfig     = "logon_config"
	logonDropIn     = "logon.conf"
	logonKeys       = "logon_keys"
)

// Prepare writes the candidate for policy p on top of files.
func (d *Daemon) Prepare(files *Files, p Policy) (*Candidate, error) {
	key, err := NewOneTimeKey()
	if err != nil {
		return nil, err
	}
	dir := path.Join(d.RunDir, "candidate")
	if err := os.MkdirAll(d.path(dir), 0o755); err != nil {
		return nil, fmt.Errorf("make a folder for the candidate configuration: %w", err)
	}
	c := &Candidate{Config: path.Join(dir, candidateConfig), Logon: path.Join(dir, logonConfig), Key: key}
	withKey := p
	withKey.keysFile = path.Join(dir, logonKeys)
	contents := map[string][]byte{logonKeys: key.AuthorizedKey()}
	files.candidate(contents, dir, candidateConfig, candidateDropIn, p)
	files.candidate(contents, dir, logonConfig, logonDropIn, withKey)
	return c, d.writeCandidate(dir, contents)
}

// candidate adds to contents a main file named config with policy p in it, and
// the drop-in it includes where that is the layout.
func (f *Files) candidate(contents map[string][]byte, dir, config, dropIn string, p Policy) {
	next := f.With(p)
	if next.DropIn == nil {
		contents[config] = f.rewriteInclude(next.Main, "")
		return
	}
	contents[dropIn] = next.DropIn
	contents[config] = f.rewriteInclude(next.Main, path.Join(dir, dropIn))
}

// rewriteInclude is main with the Include that reaches the drop-in spelled out
// file by file, and candidate in the drop-in's place among them.
func (f *Files) rewriteInclude(main []byte, candidate string) []byte {
	include, reached := f.text.IncludeReaching(path.Dir(DropIn))
	if !reached {
		return main
	}
	original := nthLine(f.Main, include.Line)
	var out []byte
	for line := range bytes.Lines(main) {
		if original != nil && bytes.Equal(line, original) {
			line, original = f.spellOut(include.Args, candidate), nil
		}
		out = append(out, line...)
	}
	return out
}

// nthLine is line n of text, from 1, with its newline.
func nthLine(text []byte, n int) []byte {
	for line := range bytes.Lines(text) {
		if n--; n == 0 {
			return line
		}
	}
	return nil
}

// spellOut is an Include line for the files that patterns match now.
func (f *Files) spellOut(patterns []string, candidate string) []byte {
	line := "Include"
	for _, arg := range patterns {
		pattern, err := includePattern(arg)
		if err != nil {
			continue // ReadText has refused it
		}
		for _, name := range f.matched(pattern) {
			switch {
			case name != DropIn:
				line += " " + quoteWord(name)
			case candidate != "":
				line += " " + quoteWord(candidate)
			}
		}
	}
	if line == "Include" {
		line = "# nothing to include"
	}
	return []byte(line + "\n")
}

// matched are the files that an Include pattern matches, in sshd's order, the
// drop-in among them whether it is there or not.
func (f *Files) matched(pattern string) []string {
	var names []string
	for _, name := range append([]string{DropIn}, f.text.Files...) {
		if globMatches(pattern, name) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// quoteWord is name as one word of sshd_config(5).
func quoteWord(name string) string {
	if strings.ContainsAny(name, " \t#") {
		return `"` + name + `"`
	}
	return name
}

// writeCandidate writes contents into dir. The keys file is read by sshd as
// the logon user, so everybody may read it: it holds a public key that is good
// for one conversation on a socket pair of ours.
func (d *Daemon) writeCandidate(dir string, contents map[string][]byte) error {
	root, err := os.OpenRoot(d.path(dir))
	if err != nil {
		return fmt.Errorf("open the folder of the candidate configuration: %w", err)
	}
	defer root.Close()
	for name, data := range contents {
		mode := os.FileMode(0o600)
		if name == logonKeys {
			mode = 0o644
		}
		if err := atomicfile.Replace(root, name, data, mode); err != nil {
			return fmt.Errorf("write %s: %w", filepath.Join(dir, name), err)
		}
	}
	return nil
}

// Discard removes the candidate that Prepare wrote.
func (d *Daemon) Discard() error {
	return os.RemoveAll(d.path(path.Join(d.RunDir, "candidate")))
}
