package authkeys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNoHome means that the account has no home folder.
var ErrNoHome = errors.New("the home folder does not exist: create it for its user")

// ErrLeaves means that a symbolic link leads out of the folder that the file
// must stay in.
var ErrLeaves = errors.New("a symbolic link leads out of the home: put a file in its place")

// A place is the folder of a keys file, open, and the file's name in it. Both
// are where symbolic links led.
type place struct {
	base   *os.Root // what may not be left: the home, or the instance's root
	folder string   // the folder, relative to base
	name   string
}

// open finds the place of the file below root. It runs as the user for a file
// below the home, as root for another.
func (l Location) open(root *os.Root) (*place, error) {
	if !l.belowHome() {
		return newSystemPlace(root, strings.TrimPrefix(l.Path, "/"))
	}
	home, err := l.openHome(root)
	if err != nil {
		return nil, fmt.Errorf("home %s of %s: %w", l.Home, l.User, err)
	}
	rel, _ := below(l.Home, l.Path)
	return newPlace(home, l.Home, rel)
}

func (l Location) openHome(root *os.Root) (*os.Root, error) {
	rel, err := resolve(root, "/", strings.TrimPrefix(path.Clean(l.Home), "/"))
	if err != nil {
		return nil, err
	}
	home, err := root.OpenRoot(rel)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, ErrNoHome
	case err != nil:
		return nil, cause(err)
	}
	return home, nil
}

// newSystemPlace finds a file outside the home. It is written as root, so nobody
// else may have a say in any folder on the way to it.
func newSystemPlace(root *os.Root, rel string) (*place, error) {
	base, err := root.OpenRoot(".")
	if err != nil {
		return nil, err
	}
	p, err := newPlace(base, "/", rel)
	if err != nil {
		return nil, err
	}
	if err := checkFolders(base, p.folder); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// newPlace takes over base, which is the folder at, and closes it on an error.
func newPlace(base *os.Root, at, rel string) (*place, error) {
	resolved, err := resolve(base, at, rel)
	if err == nil && resolved == "." {
		err = errors.New("this is a folder")
	}
	if err != nil {
		base.Close()
		return nil, err
	}
	return &place{base: base, folder: path.Dir(resolved), name: path.Base(resolved)}, nil
}

func (p *place) close() { p.base.Close() }

// openFolder opens the folder of the file; fs.ErrNotExist if there is none yet.
// OpenRoot itself would wait at a FIFO for its other end, so it is given a
// descriptor that is known to be a folder's.
func (p *place) openFolder() (*os.Root, error) {
	opened, err := openDir(p.base, p.folder)
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	folder, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", opened.Fd()))
	if err != nil {
		return nil, fmt.Errorf("open folder %s: %w", p.folder, cause(err))
	}
	return folder, nil
}

// openDir opens a folder and nothing else: whatever its user has put in the
// place of it is refused at once.
func openDir(root *os.Root, name string) (*os.File, error) {
	folder, err := root.OpenFile(name, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open folder %s: %w", name, cause(err))
	}
	return folder, nil
}

// maxLinks is how many symbolic links the kernel follows in one path.
const maxLinks = 40

// resolve follows the symbolic links of a path below root, which is the folder
// at, and returns where it leads, relative to root. A link may be absolute if
// it points below at. What is missing is taken as it stands.
//
// The answer may be out of date at once; opening it through root keeps within
// root whatever happens meanwhile.
func resolve(root *os.Root, at, name string) (string, error) {
	done, todo := ".", strings.Split(name, "/")
	for links := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		if part == ".." && done == "." {
			return "", ErrLeaves
		}
		next := path.Join(done, part)
		target, err := readLink(root, next)
		if err != nil {
			return "", err
		}
		if target == "" {
			done = next
			continue
		}
		if links++; links > maxLinks {
			return "", errors.New("too many symbolic links")
		}
		if path.IsAbs(target) {
			rel, ok := below(at, target)
			if !ok {
				return "", ErrLeaves
			}
			done, target = ".", rel
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	return done, nil
}

// readLink returns where a symbolic link points, or "" for anything else, also
// for nothing.
func readLink(root *os.Root, name string) (string, error) {
	info, err := root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("look at %s: %w", name, cause(err))
	case info.Mode().Type() != fs.ModeSymlink:
		return "", nil
	}
	target, err := root.Readlink(name)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, fs.ErrNotExist) {
		return "", nil // it was swapped for something else meanwhile
	}
	if err != nil {
		return "", fmt.Errorf("read link %s: %w", name, cause(err))
	}
	return target, nil
}

// checkFolders makes sure that root and each folder down to rel belongs to root
// and can be changed by nobody else. It is sshd's own rule for such a file. Each
// is looked at through the one above it, which was found safe already.
func checkFolders(root *os.Root, rel string) error {
	name := "."
	for _, part := range strings.Split(path.Join(".", rel), "/") {
		if err := checkFolder(root, name); err != nil {
			return err
		}
		name = path.Join(name, part)
	}
	return checkFolder(root, name)
}

func checkFolder(root *os.Root, name string) error {
	info, err := root.Lstat(name)
	if err != nil {
		return fmt.Errorf("folder /%s: %w", name, cause(err))
	}
	shown := path.Join("/", name)
	switch owner := ownerOf(info); {
	case !info.IsDir():
		return fmt.Errorf("%s is not a folder", shown)
	case owner != 0:
		return fmt.Errorf("folder %s belongs to uid %d, not to root: chown it", shown, owner)
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("folder %s can be written by others than root: chmod go-w it", shown)
	}
	return nil
}

// cause takes the path off an error that a *os.Root gave.
func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}
