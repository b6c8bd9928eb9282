package indexer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/latchkey-ssh/latchkey/internal/atomicfile"
)

// Source is where lines come from: the authorized_keys file of one user or, where
// User is "", a folder with one for each user, named as the user is.
type Source struct {
	User, Path string
	Name       string // in what is said of it; Path where there is none
}

func (s Source) String() string { return cmp.Or(s.Name, s.Path) }

// Options say what to build.
type Options struct {
	Sources []Source
	Out     string // the index; it is in none of the folders
	// UID, if not nil, is the user id of a user, for what AnyMode says of owners. It may be
	// called by several goroutines at a time.
	UID func(user string) (uid int, known bool)
	// AnyMode takes a source whoever may write to it. Without it a file is left out, and a
	// folder an error, unless it is root's, the user's or the caller's, and nobody else may
	// write to it, nor to the folder that a file lies in.
	AnyMode bool
	// AllowEmpty takes sources without any line with a key.
	AllowEmpty bool
	// Strict makes a build that has skipped or left out anything fail with ErrSkipped, once
	// all was read.
	Strict bool

	// Waiting, if not nil, is called some twenty times a second while another build of Out goes
	// on, whose end is waited for. Its error ends the wait and the build.
	Waiting func(Wait) error
	// Begin, if not nil, is called when no other build of Out can go on any more, and before
	// a source is looked at. Its error ends the build.
	Begin func() error
	// Progress, if not nil, is called now and then by one goroutine.
	Progress func(Progress)
	// Skipped, if not nil, is called with each line that sshd would skip as well, and
	// with line 0 for what is in a folder and no user's file.
	Skipped func(file string, line int, why error)
	// LeftOut, if not nil, is called with each line that is longer than an index takes, and with
	// line 0 for a user's file that cannot be believed or, in a folder, be read, or has more than
	// 64 MiB there: that user has no lines from there. If that turns out only while it is read,
	// the line is the first that is missing.
	LeftOut func(file string, line int, why error)
	// Warned, if not nil, is called with what is taken, and hardly meant.
	Warned func(file string, why error)
}

// Errors of Build that a caller may decide by.
var (
	// ErrSkipped: a strict build has skipped or left out something.
	ErrSkipped = errors.New("not all of it can be taken over")
	// ErrEmpty: no source has a line with a key.
	ErrEmpty = errors.New("no source has a line with a key")
)

// Progress is how far a build has come.
type Progress struct{ Users, Lines int }

// Summary is what an index holds.
type Summary struct {
	Users   int   `json:"users"`
	Lines   int   `json:"lines"`
	Skipped int   `json:"skipped"`  // what Options.Skipped is called with
	LeftOut int   `json:"left_out"` // what Options.LeftOut is called with
	Bytes   int64 `json:"bytes"`    // of the index
}

// Build replaces the index at Out by one of all lines of the sources. The same
// sources give the same bytes. When it fails or ctx ends, the old index stays. Builds of
// one index take turns, from before the sources are looked at until it is replaced: the
// one that ends last has also read last.
func Build(ctx context.Context, o Options) (Summary, error) {
	dir, err := os.OpenRoot(filepath.Dir(o.Out))
	if err != nil {
		return Summary{}, fmt.Errorf("open the folder of %s: %w", o.Out, cause(err))
	}
	defer dir.Close()
	unlock, err := lockOutput(ctx, dir, filepath.Base(o.Out), o.Waiting)
	if err != nil {
		return Summary{}, err
	}
	defer unlock()
	atomicfile.Sweep(dir) // what a build that was killed has left, though this one may not come to write
	if o.Begin != nil {
		if err := o.Begin(); err != nil {
			return Summary{}, err
		}
	}
	return buildIn(ctx, dir, o)
}

// buildIn builds the index in its folder, whose lock is held.
func buildIn(ctx context.Context, dir *os.Root, o Options) (Summary, error) {
	r := &run{progress: o.Progress, skipped: o.Skipped, left: o.LeftOut}
	warned := func(file string, why error) {
		if o.Warned != nil {
			o.Warned(file, why)
		}
	}
	in, err := openSources(o.Sources, owners{off: o.AnyMode, uid: o.UID})
	if err != nil {
		return Summary{}, err
	}
	defer in.close()
	if folder, found := in.contain(dir); found {
		return Summary{}, fmt.Errorf("%s would be in the folder %s, where it would be taken for a user's file", o.Out, folder)
	}
	if err := in.find(listener{r.skip, warned}); err != nil {
		return Summary{}, err
	}
	write := func(out *os.File) error {
		r.layout = newLayout(out)
		if err := r.all(ctx, in.parts); err != nil {
			return err
		}
		if r.fault = r.verdict(o); r.fault != nil {
			return r.fault
		}
		return r.layout.finish()
	}
	err = atomicfile.Stream(dir, filepath.Base(o.Out), write, mode, atomicfile.Before(ctx.Err))
	if r.fault != nil {
		return Summary{}, r.fault // it names its file, and the index has no part in it
	}
	if err != nil {
		return Summary{}, fmt.Errorf("in %s: %w", dir.Name(), err)
	}
	return r.summary(), nil
}

// verdict tells why what was read is not to become an index.
func (r *run) verdict(o Options) error {
	switch {
	case o.Strict && r.skippedLines+r.leftOut > 0:
		return ErrSkipped
	case r.layout.header.Lines > 0 || o.AllowEmpty:
		return nil
	}
	for _, source := range o.Sources {
		if info, err := os.Stat(source.Path); source.User != "" && err == nil && info.Size() > 0 {
			return fmt.Errorf("%w: %s is not empty, but has none either", ErrEmpty, source)
		}
	}
	return ErrEmpty
}

func (r *run) summary() Summary {
	h := r.layout.header
	return Summary{
		Users: int(h.Users), Lines: int(h.Lines), Skipped: r.skippedLines, LeftOut: r.leftOut, Bytes: h.Size(),
	}
}
