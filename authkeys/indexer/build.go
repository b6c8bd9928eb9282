package indexer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/latchkey-ssh/latchkey/internal/atomicfile"
)

// Source is where lines come from: the authorized_keys file of one user or, where
// User is "", a folder with one for each user, named as the user is.
type Source struct{ User, Path string }

// Options say what to build.
type Options struct {
	Sources []Source
	Out     string // the index
	// Progress, if not nil, is called now and then by one goroutine.
	Progress func(Progress)
	// Skipped, if not nil, is called with each line that sshd would skip as well, and
	// with line 0 for what is in a folder and no user's file.
	Skipped func(file string, line int, why error)
	// Strict makes a build that has skipped anything fail with ErrSkipped, once all was read.
	Strict bool
}

// ErrSkipped is the error of a strict build that has skipped something.
var ErrSkipped = errors.New("not all of it can be taken over")

// Progress is how far a build has come.
type Progress struct{ Users, Lines int }

// Summary is what an index holds.
type Summary struct {
	Users   int   `json:"users"`
	Lines   int   `json:"lines"`
	Skipped int   `json:"skipped"` // what Options.Skipped is called with
	Bytes   int64 `json:"bytes"`   // of the index
}

// Build replaces the index at Out by one of all lines of the sources. The same
// sources give the same bytes. When it fails or ctx ends, the old index stays.
func Build(ctx context.Context, o Options) (Summary, error) {
	r := &run{progress: o.Progress, skipped: o.Skipped}
	in, err := openSources(o.Sources, r.skip)
	if err != nil {
		return Summary{}, err
	}
	defer in.close()
	dir, err := os.OpenRoot(filepath.Dir(o.Out))
	if err != nil {
		return Summary{}, fmt.Errorf("open the folder of %s: %w", o.Out, cause(err))
	}
	defer dir.Close()
	write := func(out *os.File) error {
		r.layout = newLayout(out)
		if err := r.all(ctx, in.read); err != nil {
			return err
		}
		if o.Strict && r.count > 0 {
			return ErrSkipped
		}
		return r.layout.finish()
	}
	stop := atomicfile.Before(ctx.Err)
	err = atomicfile.Stream(dir, filepath.Base(o.Out), write, mode, stop)
	if r.fault != nil {
		return Summary{}, r.fault // it names its file, and the index has no part in it
	}
	if err != nil {
		return Summary{}, fmt.Errorf("in %s: %w", dir.Name(), err)
	}
	return r.summary(), nil
}

func (r *run) summary() Summary {
	h := r.layout.header
	return Summary{Users: int(h.Users), Lines: int(h.Lines), Skipped: r.count, Bytes: h.Size()}
}
