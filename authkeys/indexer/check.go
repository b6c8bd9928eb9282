package indexer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"

	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/authkeys/internal/indexfile"
)

// Check reads every byte of the index at path, and fails unless all of it is as Build
// or Write would have written it. That is an *index.Error; what else keeps it from
// reading is not.
func Check(ctx context.Context, path string) (Summary, error) {
	opened, f, err := open(path)
	if err != nil {
		return Summary{}, err
	}
	defer opened.Close()
	r := &run{layout: newLayout(&comparison{with: opened})}
	all := func(e *emitter) error { return e.records(f) }
	if err := r.all(ctx, slices.Values([]part{all})); err != nil {
		return Summary{}, explain(path, err)
	}
	if err := r.layout.finish(); err != nil {
		return Summary{}, explain(path, err)
	}
	if r.summary().Bytes != f.Size() || r.skippedLines+r.leftOut > 0 {
		return Summary{}, explain(path, faultOther)
	}
	return r.summary(), nil
}

const (
	faultOther = indexfile.Fault("is not as it would be written")
	faultName  = indexfile.Fault("has lines of what is no user name")
)

// open opens the index at path, whoever it belongs to.
func open(path string) (*os.File, *indexfile.File, error) {
	opened, err := openIndex(path)
	if err != nil {
		return nil, nil, err
	}
	info, err := opened.Stat()
	if err != nil {
		opened.Close()
		return nil, nil, fmt.Errorf("look at %s: %w", path, cause(err))
	}
	f, err := indexfile.Open(readAt(opened), info.Size())
	if err != nil {
		opened.Close()
		return nil, nil, explain(path, err)
	}
	return opened, f, nil
}

func readAt(file *os.File) indexfile.ReadAt {
	return func(p []byte, offset int64) (int, error) {
		n, err := syscall.Pread(int(file.Fd()), p, offset)
		return max(n, 0), err
	}
}

// explain names the index in what is wrong with it.
func explain(path string, err error) error {
	if fault, ok := errors.AsType[indexfile.Fault](err); ok {
		return &index.Error{Path: path, Why: string(fault)}
	}
	return fmt.Errorf("read %s: %w", path, err)
}

// records emits the lines of an index again.
func (e *emitter) records(f *indexfile.File) error {
	var p piece
	end := func() {
		if p.end = len(e.job.data); p.end > 0 && p.user != "" {
			e.job.pieces = append(e.job.pieces, p)
		}
	}
	err := f.Records(int64(indexfile.HeaderSize), func(r indexfile.Record) (bool, error) {
		if p.user != string(r.User) {
			end()
			p.user = string(r.User)
			if checkName(p.user) != nil {
				return false, faultName
			}
		}
		e.job.data = append(append(e.job.data, r.Line...), '\n')
		if len(e.job.data) < jobSize {
			return true, nil
		}
		end()
		return true, e.emit()
	})
	end()
	return err
}

// A comparison is an output that has to be the same as what is there.
type comparison struct {
	with   io.ReaderAt
	offset int64
	buf    []byte
}

func (c *comparison) Write(data []byte) (int, error) {
	if c.offset == 0 {
		// The header comes last, by WriteAt.
		c.offset = int64(indexfile.HeaderSize)
		n, err := c.Write(data[indexfile.HeaderSize:])
		return n + indexfile.HeaderSize, err
	}
	n, err := c.WriteAt(data, c.offset)
	c.offset += int64(n)
	return n, err
}

func (c *comparison) WriteAt(data []byte, offset int64) (int, error) {
	if cap(c.buf) < len(data) {
		c.buf = make([]byte, len(data))
	}
	there := c.buf[:len(data)]
	n, err := c.with.ReadAt(there, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, cause(err)
	}
	if !bytes.Equal(there[:n], data) {
		return 0, faultOther
	}
	return len(data), nil
}
