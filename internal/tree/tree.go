// Package tree reads, makes and removes the files of an instance, which are named by
// their paths below the instance's root folder.
//
// Below another root than "/" no symbolic link leads out of the tree, neither for
// reading nor for writing. One that is relative and stays inside is followed. One that
// is absolute means a place in the instance to sshd, which is run there by chroot(2),
// and one of this machine to everybody else; it is refused as a *LinkError. With "/",
// or "", links are followed wherever they lead, as an administrator has set them.
package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
)

// A LinkError is a symbolic link that leads out of the tree.
type LinkError struct {
	Link   string // its path, with the root
	Target string // where it points
}

func (e *LinkError) Error() string {
	return fmt.Sprintf("the symbolic link %s points to %s, which leads out of the instance's root: make it relative, or put what it points to in its place", e.Link, e.Target)
}

// ReadFile is os.ReadFile below root.
func ReadFile(root, name string) ([]byte, error) {
	return look(root, name, os.ReadFile, (*os.Root).ReadFile)
}

// Stat is os.Stat below root.
func Stat(root, name string) (fs.FileInfo, error) {
	return look(root, name, os.Stat, (*os.Root).Stat)
}

// Lstat is os.Lstat below root: of a link, if name is one.
func Lstat(root, name string) (fs.FileInfo, error) {
	return look(root, name, os.Lstat, (*os.Root).Lstat)
}

// OpenFolder opens the folder name.
func OpenFolder(root, name string) (*os.Root, error) {
	return look(root, name, os.OpenRoot, (*os.Root).OpenRoot)
}

// MakeFolder opens the folder name. It and those above it are made, with that mode, where
// they are missing.
func MakeFolder(root, name string, mode fs.FileMode) (*os.Root, error) {
	return look(root, name,
		func(name string) (*os.Root, error) {
			if err := os.MkdirAll(name, mode); err != nil {
				return nil, err
			}
			return os.OpenRoot(name)
		},
		func(tree *os.Root, name string) (*os.Root, error) {
			if err := tree.MkdirAll(name, mode); err != nil {
				return nil, err
			}
			return tree.OpenRoot(name)
		})
}

// Remove removes the file name, or the link if it is one, for good: its folder is synced.
func Remove(root, name string) error {
	folder, err := OpenFolder(root, path.Dir(name))
	if err != nil {
		return err
	}
	defer folder.Close()
	if err := folder.Remove(path.Base(name)); err != nil {
		return err
	}
	opened, err := folder.Open(".")
	if err != nil {
		return err
	}
	defer opened.Close()
	return opened.Sync()
}

// Place is where the file name is kept: the folder, open, and the file's name in it. A
// link is followed, if there is a file where it leads.
func Place(root, name string) (folder *os.Root, base string, err error) {
	at, err := look(root, name, filepath.EvalSymlinks, follow)
	switch {
	case err == nil:
		name = at
	case !errors.Is(err, fs.ErrNotExist):
		return nil, "", err
	}
	above, base := path.Split(name)
	folder, err = OpenFolder(root, above)
	return folder, base, err
}

// maxLinks is how many symbolic links the kernel follows in one path.
const maxLinks = 40

// follow is the path in the tree of the file that name leads to. It is not cleaned: a
// ".." in it is the folder above the one that a link before it leads to.
func follow(tree *os.Root, name string) (string, error) {
	if _, err := tree.Stat(name); err != nil {
		return "", err
	}
	for range maxLinks {
		info, err := tree.Lstat(name)
		if err != nil || info.Mode().Type() != fs.ModeSymlink {
			return name, err
		}
		target, err := tree.Readlink(name)
		if err != nil {
			return "", err
		}
		above, _ := path.Split(name)
		name = above + target
	}
	return "", &fs.PathError{Op: "follow", Path: name, Err: syscall.ELOOP}
}

// look calls here with a path of this machine, or below with the tree and a path in it.
// The error names the path as a person has to type it.
func look[T any](root, name string, here func(string) (T, error), below func(*os.Root, string) (T, error)) (T, error) {
	var none T
	if root == "" || filepath.Clean(root) == "/" {
		return here(name)
	}
	tree, err := os.OpenRoot(root)
	if err != nil {
		return none, err
	}
	defer tree.Close()
	inside := strings.TrimLeft(name, "/")
	if inside == "" {
		inside = "."
	}
	found, err := below(tree, inside)
	if err == nil {
		return found, nil
	}
	if link := leaving(tree, inside); link != nil {
		return none, link
	}
	if at, ok := errors.AsType[*fs.PathError](err); ok {
		return none, &fs.PathError{Op: strings.TrimSuffix(at.Op, "at"), Path: filepath.Join(root, name), Err: at.Err}
	}
	return none, err
}

// leaving is the link on the way to name that leads out of the tree; nil for none.
func leaving(tree *os.Root, name string) error {
	for at := name; at != "."; at = path.Dir(at) {
		target, err := tree.Readlink(at)
		if err != nil {
			continue
		}
		_, err = tree.Stat(at)
		if _, kernels := errors.AsType[syscall.Errno](err); err != nil && !kernels {
			return &LinkError{filepath.Join(tree.Name(), at), target}
		}
	}
	return nil
}
