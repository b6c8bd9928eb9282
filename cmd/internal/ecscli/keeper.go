package ecscli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

// keeper is where a private key goes. It is there before the key is: a key that nobody could keep is not made.
type keeper interface {
	write(privateKey []byte) error
	release()     // ends it; what was not written leaves nothing behind
	name() string // the file, or ""
}

// keeper is a new file, or standard output for "-".
func (d *desk) keeper(out string) (keeper, error) {
	if out == "-" {
		// A reader that has gone away has to be an error here, and not the end of the program: the key pair is
		// deleted then.
		signal.Ignore(syscall.SIGPIPE)
		return stream{d.stdout}, nil
	}
	file, err := os.OpenFile(out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, &explained{
			fmt.Errorf("%s is there already: it is not overwritten", out),
			"move it away, or name another file by --out; nothing was created",
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w; nothing was created", err)
	}
	return &keyFile{file: file}, nil
}

// keyFile is a file that did not exist before.
type keyFile struct {
	file    *os.File
	written bool
}

func (k *keyFile) name() string { return k.file.Name() }

func (k *keyFile) write(privateKey []byte) error {
	_, err := k.file.Write(privateKey)
	if err == nil {
		err = k.file.Sync()
	}
	if folder, openErr := os.Open(filepath.Dir(k.file.Name())); openErr == nil {
		_ = folder.Sync() // so that the name outlives a power cut too, where the file system can
		_ = folder.Close()
	}
	k.written = err == nil
	return err // it names the file
}

// release takes the file away if it is not written, and still ours.
func (k *keyFile) release() {
	defer k.file.Close()
	if k.written {
		return
	}
	ours, err := k.file.Stat()
	if err != nil {
		return
	}
	if there, err := os.Lstat(k.file.Name()); err == nil && os.SameFile(ours, there) {
		_ = os.Remove(k.file.Name())
	}
}

// stream is standard output.
type stream struct{ w io.Writer }

func (stream) name() string { return "" }
func (stream) release()     {}
func (s stream) write(privateKey []byte) error {
	_, err := s.w.Write(privateKey)
	return err
}
