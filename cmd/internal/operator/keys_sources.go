package operator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/latchkey-ssh/latchkey/authkeys/indexer"
	"github.com/latchkey-ssh/latchkey/cmd/internal/cli"
)

// parseSources reads the arguments of build.
func parseSources(args []string) ([]indexer.Source, error) {
	var sources []indexer.Source
	for _, arg := range args {
		source, err := parseSource(arg)
		if err != nil {
			return nil, err
		}
		if source.Path == stdinFile && slices.ContainsFunc(sources, isStdin) {
			return nil, cli.UsageError{Err: fmt.Errorf("%s: standard input can be read once only", arg)}
		}
		sources = append(sources, source)
	}
	return sources, nil
}

// stdinFile stands for standard input in the place of a file.
const stdinFile = "-"

func isStdin(s indexer.Source) bool { return s.User != "" && s.Path == stdinFile }

// parseSource reads "USER=FILE", or a folder: what has a slash before its first "=" is a path.
func parseSource(arg string) (indexer.Source, error) {
	user, file, named := strings.Cut(arg, "=")
	if !named || strings.Contains(user, "/") {
		return folderSource(arg)
	}
	if user == "" || file == "" {
		return indexer.Source{}, cli.UsageError{Err: fmt.Errorf("%q: want USER=FILE, or a folder", arg)}
	}
	if info, err := os.Stat(file); err == nil && info.IsDir() {
		return indexer.Source{}, cli.UsageError{Err: fmt.Errorf("%s: %s is a folder: one with a file for each user is given without USER=", arg, file)}
	}
	return indexer.Source{User: user, Path: file}, nil
}

func folderSource(path string) (indexer.Source, error) {
	info, err := os.Stat(path)
	if err != nil {
		return indexer.Source{}, err
	}
	if !info.IsDir() {
		return indexer.Source{}, cli.UsageError{Err: fmt.Errorf("%s is no folder: say whose lines it has, as USER=%[1]s", path)}
	}
	if home, found := aHome(path); found {
		return indexer.Source{}, cli.UsageError{Err: fmt.Errorf(
			"%s is a folder of homes (%s): sshd reads those itself; give each as USER=FILE, or a folder with a file for each user", path, home)}
	}
	return indexer.Source{Path: path}, nil
}

// fewEntries is how many of a folder tell what kind of folder it is.
const fewEntries = 256

// aHome is a keys file that stands in the folder as sshd looks for it in a home.
func aHome(folder string) (file string, found bool) {
	dir, err := os.Open(folder)
	if err != nil {
		return "", false // the build says so
	}
	defer dir.Close()
	entries, _ := dir.ReadDir(fewEntries)
	for _, entry := range entries {
		file := filepath.Join(entry.Name(), ".ssh", "authorized_keys")
		if !entry.IsDir() {
			continue
		}
		if _, err := os.Lstat(filepath.Join(folder, file)); err == nil {
			return file, true
		}
	}
	return "", false
}

// spoolStdin puts a file with the content of standard input, if that is a source, in its
// place. remove takes it away.
func (t *tool) spoolStdin(ctx context.Context, sources []indexer.Source) (remove func(), err error) {
	i := slices.IndexFunc(sources, isStdin)
	if i < 0 {
		return func() {}, nil
	}
	folder, err := os.MkdirTemp("", "latchkey-keys-")
	if err != nil {
		return func() {}, err
	}
	remove = func() { _ = os.RemoveAll(folder) }
	sources[i].Path, sources[i].Name = filepath.Join(folder, "stdin"), stdinFile
	return remove, copyTo(ctx, sources[i].Path, t.stdin)
}

// copyTo makes a file of what is read. A reader that says nothing is not waited for once ctx is over.
func copyTo(ctx context.Context, name string, from io.Reader) error {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return awaited(ctx, func() error {
		_, err := io.Copy(file, from)
		return errors.Join(err, file.Close())
	})
}

// awaited is what f returns, unless ctx ends first: then f is left to itself.
func awaited(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
