package authkeys

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/latchkey-ssh/latchkey/internal/atomicfile"
)

// A View is a keys file as it was found, with what sshd's StrictModes goes by:
// owner and mode of the file and of each folder from the home down to it.
type View struct {
	Data   []byte // nil where there is no file
	Around []Inode

	location Location
	snapshot *atomicfile.Snapshot
}

// An Inode is the owner and the mode of something on the way to the file.
type Inode struct {
	Path     string
	Mode     fs.FileMode
	UID, GID int
}

// Look reads the keys file and what is around it, as Read does.
func Look(ctx context.Context, l Location) (*View, error) {
	view := &View{location: l}
	err := l.visit(ctx, func(p *place) (err error) {
		if view.snapshot, err = p.read(); err != nil {
			return err
		}
		view.Around, err = p.around()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", l.Path, l.explain(err))
	}
	if view.snapshot != nil {
		view.Data = view.snapshot.Data
	}
	return view, nil
}

// Settled reports whether Edit would have nothing to write for this content.
func (v *View) Settled(after []byte) bool { return v.location.settled(v.snapshot, after) }

// around looks at every folder from the base down, and at the file. What is not
// there is left out.
func (p *place) around() ([]Inode, error) {
	var found []Inode
	names, name := []string{"."}, "."
	for part := range strings.SplitSeq(path.Join(p.folder, p.name), "/") {
		name = path.Join(name, part)
		names = append(names, name)
	}
	for _, name := range names {
		info, err := p.base.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("look at %s: %w", name, cause(err))
		}
		found = append(found, inode(name, info))
	}
	return found, nil
}

func inode(name string, info os.FileInfo) Inode {
	stat := info.Sys().(*syscall.Stat_t)
	return Inode{Path: name, Mode: info.Mode(), UID: int(stat.Uid), GID: int(stat.Gid)}
}

// Folders calls visit with each folder that decides over the keys file, from the
// home down: where it is, and a descriptor that was opened with the credentials
// of the user and is closed when visit returns. Folders that are missing are left
// out.
func Folders(ctx context.Context, l Location, visit func(name string, folder *os.File) error) error {
	return l.visit(ctx, func(p *place) error {
		for _, rel := range slices.Compact([]string{".", p.folder}) {
			folder, err := openDir(p.base, rel)
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			err = visit(path.Join(p.base.Name(), rel), folder)
			folder.Close()
			if err != nil {
				return err
			}
		}
		return nil
	})
}
