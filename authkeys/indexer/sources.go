package indexer

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// sources are the files to read, in order of the users; those of one user are in the
// order of the sources.
type sources struct {
	all     []Source
	owners  owners
	folders []*os.Root // for each source; nil where that is a file
	listed  []*os.File // those folders
	files   []file
}

// A file is a user's in a source.
type file struct {
	user   string
	source int
	linked bool // by a symbolic link in a folder
}

// A listener is told what becomes of a folder's names.
type listener struct {
	skip func(file string, line int, why error) // no user's file
	warn func(file string, why error)           // a user's file with an odd name
}

// openSources opens the folders.
func openSources(all []Source, o owners) (*sources, error) {
	s := &sources{all: all, owners: o, folders: make([]*os.Root, len(all)), listed: make([]*os.File, len(all))}
	for i, source := range all {
		if source.User != "" {
			continue
		}
		if err := s.openFolder(i, source.Path); err != nil {
			s.close()
			return nil, fmt.Errorf("open folder %s: %w", source, cause(err))
		}
	}
	return s, nil
}

// find finds out which files there are.
func (s *sources) find(to listener) error {
	for i, source := range s.all {
		if err := s.add(i, source, to); err != nil {
			return err
		}
	}
	slices.SortFunc(s.files, func(a, b file) int {
		return cmp.Or(cmp.Compare(a.user, b.user), cmp.Compare(a.source, b.source))
	})
	return nil
}

func (s *sources) add(i int, source Source, to listener) error {
	if source.User != "" {
		s.files = append(s.files, file{user: source.User, source: i})
		return checkName(source.User)
	}
	if err := s.list(i, to); err != nil {
		return fmt.Errorf("read folder %s: %w", source, cause(err))
	}
	return nil
}

// openFolder opens a folder that can be believed. Who may write to it may put files into it
// for everybody.
func (s *sources) openFolder(i int, path string) (err error) {
	if s.folders[i], err = os.OpenRoot(path); err != nil {
		return err
	}
	if s.listed[i], err = openListing(s.folders[i]); err != nil {
		return err
	}
	stat, err := look(int(s.listed[i].Fd()))
	if err != nil {
		return err
	}
	return s.owners.unsafe(&stat, "")
}

// openListing opens a folder once more to be listed: a file that an os.Root has opened looks at
// each name that it lists, which is as much again as opening it later.
func openListing(folder *os.Root) (*os.File, error) {
	there, err := folder.Open(".")
	if err != nil {
		return nil, err
	}
	defer there.Close()
	fd, err := openAt(int(there.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), folder.Name()), nil
}

func (s *sources) close() {
	for i, folder := range s.folders {
		if folder != nil {
			folder.Close()
		}
		if s.listed[i] != nil {
			s.listed[i].Close()
		}
	}
}

// listedAtOnce is how many names of a folder are looked at together.
const listedAtOnce = 1024

// list adds the files of a folder. What it tells of is in the order of the names.
func (s *sources) list(i int, to listener) error {
	var odd []oddName
	for {
		entries, err := s.listed[i].ReadDir(listedAtOnce)
		for _, entry := range entries {
			if why := s.unfit(i, entry); why != nil {
				odd = append(odd, oddName{strings.Clone(entry.Name()), why, true})
				continue
			}
			linked := entry.Type() == fs.ModeSymlink
			f := file{user: strings.Clone(entry.Name()), source: i, linked: linked}
			s.files = append(s.files, f)
			if why := unlikely(f.user); why != nil {
				odd = append(odd, oddName{f.user, why, false})
			}
		}
		if errors.Is(err, io.EOF) {
			tell(odd, s.all[i].Path, to)
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// An oddName is a name in a folder that somebody has to be told of.
type oddName struct {
	name    string
	why     error
	skipped bool
}

func tell(odd []oddName, folder string, to listener) {
	slices.SortFunc(odd, func(a, b oddName) int { return cmp.Compare(a.name, b.name) })
	for _, o := range odd {
		if path := folder + "/" + o.name; o.skipped {
			to.skip(path, 0, o.why)
		} else {
			to.warn(path, o.why)
		}
	}
}

var errHidden = errors.New("a hidden name")

// unfit tells why something in a folder is no user's file. A link that cannot be followed
// may be meant as one: that is found out when it is read.
func (s *sources) unfit(i int, entry fs.DirEntry) error {
	if strings.HasPrefix(entry.Name(), ".") {
		return errHidden
	}
	if err := checkName(entry.Name()); err != nil {
		return err
	}
	kind := entry.Type()
	if kind == fs.ModeSymlink {
		info, err := s.folders[i].Stat(entry.Name())
		if err != nil {
			return nil
		}
		kind = info.Mode().Type()
	}
	return notRegular(kind)
}

// unlikely tells why a user is hardly called that: a public key's file, or what an editor
// keeps of an older version.
func unlikely(name string) error {
	for _, end := range []string{".pub", "~"} {
		if user, found := strings.CutSuffix(name, end); found && user != "" {
			return fmt.Errorf("taken as the file of a user %q: is it meant to be that of %q?", name, user)
		}
	}
	return nil
}

// contain tells in which folder of the sources dir is one of them.
func (s *sources) contain(dir *os.Root) (path string, found bool) {
	info, err := dir.Stat(".")
	for i, folder := range s.listed {
		if folder == nil || err != nil {
			continue
		}
		if there, err := folder.Stat(); err == nil && os.SameFile(info, there) {
			return s.all[i].Path, true
		}
	}
	return "", false
}

// filesOfPart are few enough that what waits for others is little, and many enough that they
// are worth the trouble.
const filesOfPart = 64

// parts emit the lines of all files.
func (s *sources) parts(yield func(part) bool) {
	for files := range slices.Chunk(s.files, filesOfPart) {
		if !yield(func(e *emitter) error { return s.read(e, files) }) {
			return
		}
	}
}

func (s *sources) read(e *emitter, files []file) error {
	for _, f := range files {
		if err := s.readFile(e, f); err != nil {
			return err
		}
	}
	return nil
}

func (s *sources) readFile(e *emitter, f file) error {
	path := s.all[f.source].String()
	if s.folders[f.source] != nil {
		path += "/" + f.user
	}
	opened, err := s.open(f)
	if err != nil && s.isUsersFault(f, err) {
		e.leaveOut(path, 0, cause(err))
		return nil
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", path, cause(err))
	}
	defer opened.close()
	return s.readLines(e, f, opened, path)
}

func (s *sources) readLines(e *emitter, f file, in *input, path string) error {
	next, err := e.lines(in, f.user, path)
	switch {
	case err == nil:
		return nil
	case e.ctx.Err() != nil:
		return e.ctx.Err()
	case !s.isUsersFault(f, err):
		return fmt.Errorf("read %s: %w", path, cause(err))
	case next > 1:
		e.leaveOut(path, next, fmt.Errorf("it and all lines after it cannot be read: %w", cause(err)))
	default:
		e.leaveOut(path, 0, cause(err))
	}
	return nil
}

// isUsersFault tells whether an error is about one user's file: who that is must not be able
// to keep the index from being built. Where the file was named, that it cannot be read is a
// mistake of who named it.
func (s *sources) isUsersFault(f file, err error) bool {
	if _, ok := errors.AsType[unsafe](err); ok {
		return true
	}
	if s.folders[f.source] == nil {
		return false
	}
	errno, ok := errors.AsType[syscall.Errno](err)
	return !ok || !slices.Contains(ownFaults, errno)
}

// ownFaults are errors of open(2) and read(2) that are about whoever calls; all others may be
// brought about by whose file it is, and whose disk.
var ownFaults = []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM}
