package sshd

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/latchkey-ssh/latchkey/internal/atomicfile"
	"github.com/latchkey-ssh/latchkey/internal/tree"
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
	// Command is a third one, for a policy with a keys command: the same as Config,
	// but no file holds keys of that user, so that only the command can answer.
	Command string
	// File is Config without that command, so that it does not hide what is wrong with
	// the file; Config itself where there is none.
	File string
	// Bare is the configuration without any line of ours, where there is such a command:
	// what sshd would ask then is what the command has to ask after.
	Bare string

	files *Files
	text  *Text // the configuration it is made of, for telling where a line stands
}

// candidateFolder is below RunDir.
const candidateFolder = "candidate"

// names below it. They are fixed, since only one applier runs at
// a time; what a crash left behind is written over.
const (
	candidateConfig = "sshd_config"
	candidateDropIn = "00-latchkey.conf"
	logonConfig     = "logon_config"
	logonDropIn     = "logon.conf"
	logonKeys       = "logon_keys"
	commandConfig   = "command_config"
	commandDropIn   = "command.conf"
	fileConfig      = "file_config"
	fileDropIn      = "file.conf"
	bareConfig      = "bare_config"
)

// Prepare writes the candidate for policy p on top of files.
func (d *Daemon) Prepare(files *Files, p Policy) (*Candidate, error) {
	if err := p.Keys.Validate(); err != nil {
		return nil, fmt.Errorf("make the candidate configuration: %w", err)
	}
	key, err := NewOneTimeKey()
	if err != nil {
		return nil, err
	}
	dir := path.Join(d.RunDir, candidateFolder)
	folder, err := tree.MakeFolder(d.Root, dir, 0o755)
	if err != nil {
		return nil, fmt.Errorf("make a folder for the candidate configuration: %w", err)
	}
	defer folder.Close()
	c := &Candidate{Config: path.Join(dir, candidateConfig), Logon: path.Join(dir, logonConfig), Key: key, files: files, text: files.text}
	withKey := p
	withKey.Keys, withKey.keysFile = KeysCommand{}, path.Join(dir, logonKeys)
	contents := map[string][]byte{logonKeys: key.AuthorizedKeys()}
	files.candidate(contents, dir, candidateConfig, candidateDropIn, p)
	files.candidate(contents, dir, logonConfig, logonDropIn, withKey)
	c.File = c.Config
	if p.Keys != (KeysCommand{}) {
		c.Command, c.File, c.Bare = path.Join(dir, commandConfig), path.Join(dir, fileConfig), path.Join(dir, bareConfig)
		byCommand, byFile := p, p
		byCommand.keysFileOff, byFile.Keys = true, KeysCommand{}
		files.candidate(contents, dir, commandConfig, commandDropIn, byCommand)
		files.candidate(contents, dir, fileConfig, fileDropIn, byFile)
		files.candidate(contents, dir, bareConfig, "", Policy{})
	}
	return c, writeCandidate(folder, contents)
}

// candidate adds to contents a main file named config with policy p in it, and
// the drop-in it includes where that is the layout.
func (f *Files) candidate(contents map[string][]byte, dir, config, dropIn string, p Policy) {
	next := f.With(p)
	var name string
	if next.DropIn != nil {
		name = path.Join(dir, dropIn)
		contents[dropIn] = next.DropIn
	}
	contents[config] = f.rewriteIncludes(next.Main, name)
}

// rewriteIncludes is main with each Include that reaches the drop-in spelled
// out file by file, and candidate in the drop-in's place among them; nothing in
// its place when candidate is empty.
func (f *Files) rewriteIncludes(main []byte, candidate string) []byte {
	var out []byte
	for line := range bytes.Lines(main) {
		keyword, rest, err := splitKeyword(string(line))
		if err == nil && strings.EqualFold(keyword, "include") {
			line = f.spellOut(line, rest, candidate)
		}
		out = append(out, line...)
	}
	return out
}

// spellOut is an Include line with the files that its arguments match now, or
// the line as it is where the drop-in is not among them.
func (f *Files) spellOut(line []byte, arguments, candidate string) []byte {
	patterns, err := splitArgs(arguments)
	if err != nil || len(f.upToDropIn(patterns)) == 0 {
		return line
	}
	words := []string{"Include"}
	for _, arg := range patterns {
		pattern, err := includePattern(arg)
		if err != nil {
			continue // ReadText has refused it
		}
		for _, name := range f.matched(pattern) {
			switch {
			case name != DropIn:
				words = append(words, quoteWord(name))
			case candidate != "":
				words = append(words, quoteWord(candidate))
			}
		}
	}
	if len(words) == 1 {
		return []byte("# nothing to include\n")
	}
	return []byte(strings.Join(words, " ") + "\n")
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

// writeCandidate writes contents into folder. The keys file is read by sshd as
// the logon user, so everybody may read it: it holds a public key that is good
// for one conversation on a connection of ours with itself.
func writeCandidate(folder *os.Root, contents map[string][]byte) error {
	for name, data := range contents {
		mode := os.FileMode(0o600)
		if name == logonKeys {
			mode = 0o644
		}
		if err := atomicfile.Replace(folder, name, data, mode); err != nil {
			return fmt.Errorf("write %s: %w", filepath.Join(folder.Name(), name), err)
		}
	}
	return nil
}

// Discard removes the candidate that Prepare wrote.
func (d *Daemon) Discard() error {
	folder, err := tree.OpenFolder(d.Root, d.RunDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("discard the candidate configuration: %w", err)
	}
	defer folder.Close()
	return folder.RemoveAll(candidateFolder)
}
