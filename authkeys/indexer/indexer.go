// Package indexer writes the key indexes that package index reads, and looks
// through a whole one.
package indexer

import (
	"context"
	"os"
)

// User is a user and their lines of authorized_keys, in order.
type User struct {
	Name  string
	Lines []string // without newlines; each one that sshd reads as a key
}

// Write replaces the file name in dir by an index of these users, mode 0644. The file
// is never seen half written. A line that sshd would not read as a key is an error.
func Write(dir *os.Root, name string, users ...User) error { panic("not yet") }

// Source is where lines come from: the authorized_keys file of one user or, where
// User is "", a folder with one for each user, named as the user is.
type Source struct{ User, Path string }

// Options say what to build.
type Options struct {
	Sources []Source
	Out     string // the index
	// Progress, if not nil, is called now and then by one goroutine.
	Progress func(Progress)
	// Skipped, if not nil, is called with each line that sshd would skip as well.
	Skipped func(file string, line int, why error)
}

// Progress is how far a build has come.
type Progress struct{ Users, Lines int }

// Summary is what an index holds.
type Summary struct {
	Users   int   `json:"users"`
	Lines   int   `json:"lines"`
	Skipped int   `json:"skipped"`
	Bytes   int64 `json:"bytes"` // of the index
}

// Build replaces the index at Out by one of all lines of the sources. The same
// sources give the same bytes. When it fails or ctx ends, the old index stays.
func Build(ctx context.Context, o Options) (Summary, error) { panic("not yet") }

// Check reads every byte of the index at path, and fails unless all of it is as Build
// or Write would have written it.
func Check(ctx context.Context, path string) (Summary, error) { panic("not yet") }

// Found is a line of an index.
type Found struct {
	User string `json:"user"`
	Line string `json:"line"`
}

// Find calls visit with each line whose key has the fingerprint ("SHA256:…").
func Find(ctx context.Context, path, fingerprint string, visit func(Found) error) error {
	panic("not yet")
}
