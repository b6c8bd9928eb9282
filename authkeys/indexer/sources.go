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
)

// sources are the files to read, in order of the users; those of one user are in the
// order of the sources.
type sources struct {
	all     []Source
	folders []*os.Root // for each source; nil where that is a file
	files   []file
}

// A file is a user's in a source.
type file struct {
	user   string
	source int
}

// openSources finds out which files there are. What is in a folder and no user's file
// is skipped.
func openSources(all []Source, skip func(file string, line int, why error)) (*sources, error) {
	s := &sources{all: all, folders: make([]*os.Root, len(all))}
	for i, source := range all {
		if err := s.open(i, source, skip); err != nil {
			s.close()
			return nil, err
		}
	}
	slices.SortStableFunc(s.files, func(a, b file) int { return cmp.Compare(a.user, b.user) })
	return s, nil
}

func (s *sources) open(i int, source Source, skip func(file string, line int, why error)) (err error) {
	if source.User != "" {
		s.files = append(s.files, file{source.User, i})
		return checkName(source.User)
	}
	if s.folders[i], err = os.OpenRoot(source.Path); err != nil {
		return fmt.Errorf("open folder %s: %w", source.Path, cause(err))
	}
	return s.list(i, func(name string, why error) { skip(source.Path+"/"+name, 0, why) })
}

func (s *sources) close() {
	for _, folder := range s.folders {
		if folder != nil {
			folder.Close()
		}
	}
}

// listed is how many names of a folder are looked at together.
const listed = 1024

// list adds the files of a folder.
func (s *sources) list(i int, skip func(name string, why error)) error {
	path := s.all[i].Path
	folder, err := s.folders[i].Open(".")
	if err != nil {
		return fmt.Errorf("open folder %s: %w", path, cause(err))
	}
	defer folder.Close()
	for {
		entries, err := folder.ReadDir(listed)
		for _, entry := range entries {
			why, err := s.unfit(i, entry)
			switch {
			case err != nil:
				return fmt.Errorf("look at %s/%s: %w", path, entry.Name(), cause(err))
			case why != nil:
				skip(entry.Name(), why)
			default:
				s.files = append(s.files, file{strings.Clone(entry.Name()), i})
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read folder %s: %w", path, cause(err))
		}
	}
}

var errHidden = errors.New("a hidden name")

// unfit tells why something in a folder is no user's file. Links are followed, but not
// out of the folder: one that cannot be followed is an error.
func (s *sources) unfit(i int, entry fs.DirEntry) (why, err error) {
	if strings.HasPrefix(entry.Name(), ".") {
		return errHidden, nil
	}
	if err := checkName(entry.Name()); err != nil {
		return err, nil
	}
	kind := entry.Type()
	if kind == fs.ModeSymlink {
		info, err := s.folders[i].Stat(entry.Name())
		if err != nil {
			return nil, err
		}
		kind = info.Mode().Type()
	}
	return notRegular(kind), nil
}

func notRegular(kind fs.FileMode) error {
	switch kind {
	case 0:
		return nil
	case fs.ModeDir:
		return errors.New("a folder, not a regular file")
	case fs.ModeNamedPipe:
		return errors.New("a FIFO, not a regular file")
	}
	return errors.New("not a regular file")
}

// read emits the lines of all files.
func (s *sources) read(e *emitter) error {
	for _, f := range s.files {
		if err := s.readFile(e, f); err != nil {
			return err
		}
	}
	return nil
}

func (s *sources) readFile(e *emitter, f file) error {
	path := s.all[f.source].Path
	folder := s.folders[f.source]
	if folder != nil {
		path += "/" + f.user
	}
	opened, err := openRegular(folder, f.user, path)
	if err != nil {
		return err
	}
	defer opened.Close()
	return e.lines(opened, f.user, path)
}

// openRegular opens a user's file: the one of this name in the folder or, without one,
// that at path. It does not wait for the other end of a FIFO.
func openRegular(folder *os.Root, name, path string) (*os.File, error) {
	const flags = os.O_RDONLY | syscall.O_NONBLOCK | syscall.O_NOCTTY
	var opened *os.File
	var err error
	if folder != nil {
		opened, err = folder.OpenFile(name, flags, 0)
	} else {
		opened, err = os.OpenFile(path, flags, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, cause(err))
	}
	info, err := opened.Stat()
	if err == nil {
		err = notRegular(info.Mode().Type())
	}
	if err != nil {
		opened.Close()
		return nil, fmt.Errorf("read %s: %w", path, cause(err))
	}
	return opened, nil
}

// cause takes the path off an error: the caller names the file in its own words.
func cause(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	return err
}
