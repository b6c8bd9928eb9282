// Package index reads a key index: one file that says which authorized_keys
// lines let whom in, made so that a line is found with a handful of preads
// however many there are. Package indexer writes it.
//
// sshd starts the program that this is for twice for each key a client offers,
// so what this package imports is what every logon pays: nothing but package
// syscall and what costs no time to start.
//
// The format is a sorted table of our own (package indexfile) rather than a constant
// database such as cdb (https://cr.yp.to/cdb.html). cdb's offsets and hashes have 32
// bits. Its hash has no key and is a multiplication by 33 and an exclusive or for each
// byte, so whoever may add keys can add any number with one hash, and as its tables are
// probed one slot after the other, that slows down what other users look up. It has no
// checksums, where we have to tell a damaged index from a key that is not there. Of the
// ports to Go, github.com/colinmarc/cdb imports package os, which takes a tenth of a
// bare program's run time to start, and trusts the lengths that it reads;
// github.com/opencoff/go-cdb has a checksum, but of the whole file, at each opening.
package index

import (
	"errors"
	"syscall"

	"github.com/latchkey-ssh/latchkey/authkeys/internal/indexfile"
)

// The indexes below the instance's root: of the key that the instance is bound
// to, kept by latchkeyd, and of the keys that an administrator has built one
// from.
const (
	Dir   = "/var/lib/latchkey/keys"
	Bound = Dir + "/bound.index"
	Users = Dir + "/users.index"
)

// An Index is an open key index. Its methods read and change nothing.
type Index struct {
	fd   int
	path string
	file *indexfile.File
}

// Error is an index that must not be used.
type Error struct{ Path, Why string }

func (e *Error) Error() string { return e.Path + ": " + e.Why }

// Open opens the index at path. It has to be a regular file, of owner, that
// nobody else may write to, in folders of which the same is true up to top,
// which is "/" on an instance of its own. An index that is not there is
// syscall.ENOENT; anything else that is wrong with it is an *Error.
func Open(path string, owner int, top string) (*Index, error) {
	fd, size, err := openTrusted(path, owner, top)
	if err != nil {
		return nil, err
	}
	x := &Index{fd: fd, path: path}
	if x.file, err = indexfile.Open(x.readAt, size); err != nil {
		x.Close()
		return nil, x.explain(err)
	}
	return x, nil
}

// readAt reads as pread(2) does.
func (x *Index) readAt(p []byte, offset int64) (int, error) {
	n, err := syscall.Pread(x.fd, p, offset)
	if err != nil {
		return 0, &Error{x.path, "cannot be read: " + err.Error()}
	}
	return n, nil
}

// explain names the file in what is wrong with it. An error of a visit stays as
// it is.
func (x *Index) explain(err error) error {
	if fault, ok := errors.AsType[indexfile.Fault](err); ok {
		return &Error{x.path, string(fault)}
	}
	return err
}

// Close closes the file.
func (x *Index) Close() error { return syscall.Close(x.fd) }

// certificate ends the name of each type of a certificate (PROTOCOL.certkeys).
const certificate = "-cert-v01@openssh.com"

// Match calls visit with each line of user that sshd has to see when a client
// offers a key, in the order in which they were written: the lines with that
// key, or for a certificate all with cert-authority. keyType and key are what
// sshd puts in the place of %t and %k: the name of the type and the base64 of
// the blob. A line ends without a newline, and is valid until visit returns.
func (x *Index) Match(user, keyType, key string, visit func(line []byte) error) error {
	if isCertificate(keyType) {
		return x.explain(x.file.Authorities(user, visit))
	}
	return x.explain(x.file.Key(user, key, visit))
}

func isCertificate(keyType string) bool {
	at := len(keyType) - len(certificate)
	return at >= 0 && keyType[at:] == certificate
}

// All calls visit with each line of user, in the order in which they were written.
func (x *Index) All(user string, visit func(line []byte) error) error {
	return x.explain(x.file.User(user, visit))
}
