package sshd

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/latchkey-ssh/latchkey/internal/tree"
)

const (
	maxConfigBytes   = 1 << 20
	maxConfigFiles   = 1024
	maxIncludeDepth  = 16         // sshd's own limit
	includeDirectory = "/etc/ssh" // what a relative Include is relative to
)

// Directive is one line of an sshd configuration.
type Directive struct {
	File    string      // path as sshd names it, without the instance root
	Line    int         // from 1
	Keyword string      // lower case, as written (an older name stays the older name)
	Args    []string    // unquoted, without a comment; of a command keyword one, the line as written
	Match   *MatchBlock // nil for a global line
}

// Position is "file:line".
func (d Directive) Position() string { return fmt.Sprintf("%s:%d", d.File, d.Line) }

// Text is an sshd configuration as it is written, with every Include expanded where it stands.
//
// sshd -T answers for one connection at a time. Text is for the questions that need all of them: does
// any Match block turn passwords back on, where does a new line have to go, which files take part.
type Text struct {
	Directives []Directive   // in the order in which sshd reads them
	Blocks     []*MatchBlock // every Match line, in order
	Files      []string      // every file read, the main file first; paths without the instance root
	Globs      []string      // the patterns of all Include lines, absolute, without the instance root
}

// ReadText reads the configuration file path of the instance below root ("/" for this machine).
//
// path and every Include are paths inside the instance; a relative Include is relative to /etc/ssh. The rules
// are those of sshd_config(5) and of OpenSSH 8.7 and later: comments, quotes, "keyword=value", at most 16
// levels of Include, patterns sorted by name, patterns that match nothing ignored. An error names
// file and line, and stands for a configuration that sshd refuses too, or that is too large to
// be sane (1 MiB a file, 1024 files) or contains a NUL byte. Whether a keyword or its value is one that
// sshd knows is not checked: ask sshd -t.
func ReadText(root, path string) (*Text, error) {
	files, done, err := openFiles(root)
	if err != nil {
		return nil, err
	}
	defer done()
	r := &textReader{root: root, files: files, text: &Text{}}
	if err := r.readFile(absolute(path), scope{}); err != nil {
		return nil, err
	}
	return r.text, nil
}

// ParseDirective reads one line alone, such as the value of sshd's option -o. A Match or an Include cannot stand alone.
func ParseDirective(line string) (Directive, error) {
	keyword, rest, err := splitKeyword(line)
	if err != nil {
		return Directive{}, err
	}
	d := Directive{Keyword: strings.ToLower(keyword)}
	if d.Keyword == "" || d.Keyword == "match" || d.Keyword == "include" {
		return Directive{}, fmt.Errorf("%q: not a keyword and its value", line)
	}
	d.Args, err = argsOf(d.Keyword, rest)
	return d, err
}

// openFiles opens the instance's files, for finding names. Below another root than "/" no symbolic link leads out of it.
func openFiles(root string) (fs.FS, func(), error) {
	if root == "" || root == "/" {
		return os.DirFS("/"), func() {}, nil
	}
	dir, err := os.OpenRoot(root)
	if err != nil {
		return nil, nil, fmt.Errorf("open instance root: %w", err)
	}
	return dir.FS(), func() { dir.Close() }, nil
}

type textReader struct {
	root  string
	files fs.FS
	text  *Text
}

// scope is where in the configuration the reader is.
type scope struct {
	depth  int         // how many Includes deep
	within *MatchBlock // the block that the Include of this file stands in
	block  *MatchBlock // the block that the next line belongs to
}

// readFile appends the directives of one file.
func (r *textReader) readFile(name string, in scope) error {
	if in.depth > maxIncludeDepth {
		return fmt.Errorf("read %s: more than %d levels of Include", name, maxIncludeDepth)
	}
	if len(r.text.Files) == maxConfigFiles {
		return fmt.Errorf("read %s: more than %d files included", name, maxConfigFiles)
	}
	data, err := readConfigFile(r.root, name)
	if err != nil {
		return err
	}
	r.text.Files = append(r.text.Files, name)
	number := 0
	for line := range strings.SplitSeq(string(data), "\n") {
		number++
		at := Directive{File: name, Line: number, Match: in.block}
		if in.block, err = r.readLine(at, line, in); err != nil {
			return fmt.Errorf("%s: %w", at.Position(), err)
		}
	}
	return nil
}

// readLine appends what one line says and returns the Match block in force after it.
func (r *textReader) readLine(d Directive, line string, in scope) (*MatchBlock, error) {
	keyword, rest, err := splitKeyword(line)
	if err != nil || keyword == "" {
		return in.block, err
	}
	d.Keyword = strings.ToLower(keyword)
	if d.Args, err = argsOf(d.Keyword, rest); err != nil {
		return nil, err
	}
	if d.Keyword == "match" {
		block, err := parseMatch(d, rest, in.within)
		r.text.Blocks = append(r.text.Blocks, block)
		return block, err
	}
	r.text.Directives = append(r.text.Directives, d)
	if d.Keyword == "include" {
		return in.block, r.include(d, scope{depth: in.depth + 1, within: in.block, block: in.block})
	}
	return in.block, nil
}

func (r *textReader) include(d Directive, in scope) error {
	if len(d.Args) == 0 {
		return errors.New("no file name after Include")
	}
	for _, arg := range d.Args {
		pattern, err := includePattern(arg)
		if err != nil {
			return err
		}
		r.text.Globs = append(r.text.Globs, pattern)
		names, err := expandGlob(r.files, pattern)
		if err := cmp.Or(err, r.checkLinks(pattern)); err != nil {
			return err
		}
		for _, name := range names {
			if err := r.readFile(name, in); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkLinks makes sure that a pattern matches nothing only where sshd finds nothing either: below its own root it
// follows a link that leads out of ours.
func (r *textReader) checkLinks(pattern string) error {
	certain := pattern // what is looked for, whatever there is
	if i := strings.IndexAny(pattern, `*?[\`); i >= 0 {
		certain = path.Dir(pattern[:i])
	}
	_, err := tree.Stat(r.root, certain)
	if link, out := errors.AsType[*tree.LinkError](err); out {
		return fmt.Errorf("include %s: %w", pattern, link)
	}
	return nil
}

// readConfigFile returns a file's content. A folder reads as empty, as it does to sshd.
func readConfigFile(root, name string) ([]byte, error) {
	info, err := tree.Stat(root, name)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, cause(err))
	}
	switch {
	case info.IsDir():
		return nil, nil
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("read %s: not a regular file", name)
	case info.Size() > maxConfigBytes:
		return nil, fmt.Errorf("read %s: larger than %d bytes", name, maxConfigBytes)
	}
	data, err := tree.ReadFile(root, name)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, cause(err))
	}
	return data, checkConfigBytes(name, data)
}

// cause takes the path off an error, which names the file with the instance root.
func cause(err error) error {
	if at, ok := errors.AsType[*fs.PathError](err); ok {
		return at.Err
	}
	return err
}

func checkConfigBytes(name string, data []byte) error {
	if len(data) > maxConfigBytes {
		return fmt.Errorf("read %s: larger than %d bytes", name, maxConfigBytes)
	}
	if i := bytes.IndexByte(data, 0); i >= 0 {
		return fmt.Errorf("%s:%d: NUL byte", name, 1+bytes.Count(data[:i], []byte("\n")))
	}
	return nil
}

// absolute is name as a clean absolute path.
func absolute(name string) string { return path.Clean("/" + name) }
