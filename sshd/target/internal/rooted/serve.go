package rooted

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"github.com/pkg/sftp"
)

// Options say what a client finds.
type Options struct {
	Dir      string // the folder, "/" to the client
	Start    string // path in the folder to which relative paths belong; "/" where there is no such folder
	ReadOnly bool   // nothing is changed

	Panicked func(fault any) // told of a panic, which is a failure to the client; may be nil
}

// Serve answers the requests of version 3 of SFTP (draft-ietf-secsh-filexfer-02) that come from in, until that ends
// or ctx does; whoever ends ctx must end in too. No file is open when it returns.
func Serve(ctx context.Context, in io.Reader, out io.Writer, o Options) error {
	root, err := os.OpenRoot(o.Dir)
	if err != nil {
		return fmt.Errorf("serve SFTP: %w", err)
	}
	defer root.Close()
	f := &folder{root: root, readOnly: o.ReadOnly, panicked: o.Panicked}
	turns := &turns{ctx: ctx, in: in, out: out, answered: make(chan struct{}, 1)}
	turns.answered <- struct{}{}
	err = sftp.NewRequestServer(turns, f.handlers(), sftp.WithStartDirectory(f.start(o.Start))).Serve()
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("serve SFTP: %w", err)
	}
	return nil
}

func (f *folder) start(name string) string {
	if info, err := f.root.Stat(below(name)); err != nil || !info.IsDir() {
		return "/"
	}
	return path.Clean("/" + name)
}

// turns hands the library one request at a time, and the next one when it has answered. Left alone it would
// serve eight writes to a file at once, in any order.
type turns struct {
	ctx      context.Context
	in       io.Reader
	out      io.Writer
	request  frame
	answer   frame
	answered chan struct{}
}

func (t *turns) Read(p []byte) (int, error) {
	if t.request.begins() {
		select {
		case <-t.answered:
		case <-t.ctx.Done():
			return 0, io.EOF
		}
	}
	n, err := t.in.Read(t.request.part(p))
	t.request.advance(p[:n])
	return n, err
}

// Write lets the next request through also when its own was not to be written: the reader then sees the end itself.
func (t *turns) Write(p []byte) (int, error) {
	n, err := t.out.Write(p)
	for rest := p; len(rest) > 0; {
		part := t.answer.part(rest)
		if t.answer.advance(part) {
			t.answered <- struct{}{}
		}
		rest = rest[len(part):]
	}
	return n, err
}

// Close has nothing to do: it is called for a request that ends the session, after which nothing is read.
func (t *turns) Close() error { return nil }

// frame follows packets, each a length of four bytes and as many bytes as that says.
type frame struct {
	length [4]byte
	have   int // bytes of length
	left   uint32
}

func (f *frame) begins() bool { return f.have == 0 }

// part is the beginning of p that belongs to the length, or to what follows it.
func (f *frame) part(p []byte) []byte {
	if f.have < len(f.length) {
		return p[:min(len(p), len(f.length)-f.have)]
	}
	return p[:min(uint64(len(p)), uint64(f.left))]
}

// advance takes a part, and tells whether the packet is complete.
func (f *frame) advance(part []byte) bool {
	if f.have < len(f.length) {
		f.have += copy(f.length[f.have:], part)
		f.left = binary.BigEndian.Uint32(f.length[:])
	} else {
		f.left -= uint32(len(part))
	}
	if f.have < len(f.length) || f.left > 0 {
		return false
	}
	f.have = 0
	return true
}
