package target

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/internal/asuser"
)

// readAsUser reads a file as sshd does, with the user's rights: where this server is root it takes them for as long.
func (p *policy) readAsUser(path string) ([]byte, error) {
	if os.Geteuid() != 0 || p.who.UID == 0 {
		return p.readFile(path)
	}
	credentials := asuser.Credentials{UID: p.who.UID, GID: p.who.GID, Groups: p.who.Groups}
	return p.readWith(path, func(read func() error) error { return asuser.Do(context.Background(), credentials, read) })
}

// readFile reads a file with the rights of this server.
func (p *policy) readFile(path string) ([]byte, error) {
	return p.readWith(path, func(read func() error) error { return read() })
}

// readWith reads a file, which has to satisfy StrictModes where that is on. What is above the root, and who owns the
// folders, is asked with the rights of this server.
func (p *policy) readWith(path string, do func(read func() error) error) ([]byte, error) {
	dir, name, err := p.openRoot(path)
	if err != nil {
		return nil, err
	}
	defer dir.close()
	strict := p.is("strictmodes")
	var file openedFile
	if err := do(func() (err error) { file, err = dir.read(name, strict); return err }); err != nil {
		return nil, err
	}
	if strict {
		err = p.strict(dir, file)
	}
	return file.data, err
}

// openedFile is what there was to know of a file while it was open; only its data where nothing else is asked for.
type openedFile struct {
	data []byte
	path string // without links; the last part of it is wrong where the file was replaced meanwhile
	info unix.Stat_t
}

func (f folder) read(name string, placed bool) (openedFile, error) {
	fd, err := f.open(name, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return openedFile{}, err
	}
	defer unix.Close(fd)
	var file openedFile
	if file.data, err = readOpen(fd, name, maxKeysFile); err != nil || !placed {
		return file, err
	}
	if file.path, err = pathOf(fd); err != nil {
		return openedFile{}, err
	}
	return file, unix.Fstat(fd, &file.info)
}

// openRoot opens the folder that links in path cannot leave, and returns the path from there.
func (p *policy) openRoot(path string) (folder, string, error) {
	name, below := strings.CutPrefix(path, p.root+"/")
	if p.root == "/" || !below {
		return wholeTree, path, nil
	}
	fd, err := unix.Open(p.root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, "", &fs.PathError{Op: "open", Path: p.root, Err: err}
	}
	return folder(fd), "/" + name, nil
}

// folder is the descriptor of a root folder: "/" means that folder to the links below it.
type folder int

// wholeTree is the root of the process. It is not asked for by openat2(2), which is not there before Linux 5.6.
const wholeTree folder = unix.AT_FDCWD

func (f folder) close() {
	if f != wholeTree {
		_ = unix.Close(int(f))
	}
}

// open opens an absolute path below the folder.
func (f folder) open(path string, flags int) (int, error) {
	how := unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: unix.RESOLVE_IN_ROOT}
	for {
		fd, err := uninterrupted(func() (int, error) {
			if f == wholeTree {
				return unix.Open(path, int(how.Flags), 0)
			}
			return unix.Openat2(int(f), path, &how)
		})
		switch {
		case err == nil:
			return fd, nil
		case f == wholeTree || !errors.Is(err, unix.EAGAIN): // EAGAIN: a rename raced with it
			return -1, &fs.PathError{Op: "open", Path: path, Err: err}
		}
	}
}

// strict is StrictModes: the file and the folders above it, up to the home or the root, may be written to by
// nobody but their owner, who is root, the user, or whoever runs this server.
func (p *policy) strict(dir folder, file openedFile) error {
	path, info := file.path, file.info
	for stops := p.strictUpTo(dir); ; {
		if err := p.trusts(path, info); err != nil {
			return err
		}
		if slices.Contains(stops, path) {
			return nil
		}
		path = filepath.Dir(path)
		if err := unix.Stat(path, &info); err != nil {
			return &fs.PathError{Op: "stat", Path: path, Err: err}
		}
	}
}

// strictUpTo are the folders above which StrictModes does not look, without links.
func (p *policy) strictUpTo(dir folder) []string {
	stops := []string{"/"}
	if real, err := pathOf(int(dir)); dir != wholeTree && err == nil {
		stops = append(stops, real)
	}
	home := strings.TrimPrefix(p.home, p.root)
	if dir == wholeTree {
		home = p.home
	}
	fd, err := dir.open(filepath.Join("/", home), unix.O_PATH)
	if err != nil {
		return stops
	}
	defer unix.Close(fd)
	if real, err := pathOf(fd); err == nil {
		stops = append(stops, real)
	}
	return stops
}

// pathOf is where an open file is, without links (proc_pid_fd(5)).
func pathOf(fd int) (string, error) {
	return os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
}

func (p *policy) trusts(path string, info unix.Stat_t) error {
	if owner := int(info.Uid); owner != 0 && owner != p.who.UID && owner != os.Geteuid() {
		return fmt.Errorf("StrictModes: %s has a bad owner", path)
	}
	if mode := info.Mode & 0o777; mode&0o022 != 0 {
		return fmt.Errorf("StrictModes: %s is writable by others (mode %#o)", path, mode)
	}
	return nil
}
