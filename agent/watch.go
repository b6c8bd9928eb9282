package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/authkeys"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// Settling: an editor's save is several events, and so is a package upgrade.
const (
	settle    = 100 * time.Millisecond // of silence, before a pass
	settleMax = 2 * time.Second        // a stream of events does not put it off longer
	passGap   = time.Second            // between passes that events caused
)

// watch follows the folders that the agent's files are in. Folders, because a
// file that is replaced takes its watch with it.
type watch struct {
	notify  *fsnotify.Watcher
	mounts  *mounts
	folders map[string]folder // by where they are
	last    time.Time         // when events last led to a pass
	blind   bool              // a folder is watched only since the last pass looked into it
}

// folder is one that is watched.
type folder struct {
	handle   string   // the path it was added by
	dev, ino uint64   // which folder that was
	names    []string // the entries that matter; nil for all
}

func newWatch() (*watch, error) {
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch files: %w", err)
	}
	mounts, err := watchMounts()
	if err != nil {
		_ = notify.Close()
		return nil, err
	}
	return &watch{notify: notify, mounts: mounts, folders: map[string]folder{}}, nil
}

func (w *watch) close() {
	w.mounts.close()
	_ = w.notify.Close()
}

// follow watches what the last pass depended on, and no longer what earlier
// ones did. Folders below a home are opened with its user's credentials.
func (w *watch) follow(ctx context.Context, a *Agent, configPath string, outcome *Outcome) {
	wanted := a.systemFolders()
	wanted.add(filepath.Join(a.root, path.Dir(configPath)))
	wanted.add(filepath.Join(a.root, configPath+".d"))
	for name, names := range wanted {
		if err := w.addPath(name, names); err != nil {
			a.log.Warn("folder is not watched", slog.Any("error", err))
		}
	}
	if outcome == nil || outcome.Plan == nil || len(outcome.Plan.world.Stores) == 0 {
		return // earlier watches stay: nobody knows yet what to watch instead
	}
	var opened []*os.File
	var err error
	location := outcome.Plan.world.Location
	if location.Path != "" {
		opened, err = foldersOf(ctx, location)
	}
	for _, folder := range opened {
		wanted[folder.Name()] = nameBelow(folder.Name(), filepath.Join(location.Root, location.Path))
		err = errors.Join(err, w.add(folder.Name(), folder, wanted[folder.Name()]), folder.Close())
	}
	if err != nil {
		a.log.Warn("keys file is not watched", slog.Any("error", err))
	}
	w.drop(wanted)
}

// maxFolders is more than any way from a home to a keys file has.
const maxFolders = 16

// foldersOf opens the folders that decide over a keys file. They come through a
// channel: of a home that does not answer, the visit may go on after it was
// given up.
func foldersOf(ctx context.Context, l authkeys.Location) ([]*os.File, error) {
	ctx, cancel := context.WithTimeout(ctx, homeTimeout)
	defer cancel()
	found := make(chan *os.File, maxFolders)
	err := authkeys.Folders(ctx, l, func(name string, opened *os.File) error {
		fd, err := unix.FcntlInt(opened.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("watch %s: %w", name, err)
		}
		select {
		case found <- os.NewFile(uintptr(fd), name):
			return nil
		default:
			return errors.Join(fmt.Errorf("watch %s: too many folders", name), unix.Close(fd))
		}
	})
	var opened []*os.File
	for {
		select {
		case folder := <-found:
			opened = append(opened, folder)
		default:
			return opened, err
		}
	}
}

// nameBelow is the entry of folder that leads to file; nil, for all, where a
// symbolic link on the way leaves that open.
func nameBelow(folder, file string) []string {
	rel, err := filepath.Rel(folder, file)
	if err != nil || !filepath.IsLocal(rel) {
		return nil
	}
	for dir := path.Dir(rel); dir != "."; dir = path.Dir(rel) {
		rel = dir
	}
	return []string{rel}
}

// entries are folders, each with the entries that matter in it; nil for all.
type entries map[string][]string

// add adds entries of a folder, or without names all there are.
func (e entries) add(folder string, names ...string) {
	if known, ok := e[folder]; ok {
		names = joinNames(known, names)
	}
	e[folder] = names
}

// joinNames are the entries of either; nil is all.
func joinNames(a, b []string) []string {
	if a == nil || b == nil {
		return nil
	}
	joined := slices.Concat(a, b)
	slices.Sort(joined)
	return slices.Compact(joined)
}

func (w *watch) addPath(name string, names []string) error {
	opened, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer opened.Close()
	return w.add(name, opened, names)
}

// add watches an open folder. The watch holds on to the folder itself, not to a
// descriptor, which would keep its file system from being unmounted.
func (w *watch) add(name string, opened *os.File, names []string) error {
	var stat unix.Stat_t
	if err := unix.Fstat(int(opened.Fd()), &stat); err != nil {
		return fmt.Errorf("watch %s: %w", name, err)
	}
	old, watched := w.folders[name]
	if watched && old.dev == stat.Dev && old.ino == stat.Ino {
		old.names = joinNames(old.names, names)
		w.folders[name] = old
		return nil
	}
	if watched {
		_ = w.notify.Remove(old.handle)
	}
	handle, closeHandle, err := w.handle(opened)
	if err != nil {
		return fmt.Errorf("watch %s: %w", name, err)
	}
	defer closeHandle()
	if err := w.notify.Add(handle); err != nil {
		return fmt.Errorf("watch %s: %w", name, err)
	}
	w.folders[name] = folder{handle, stat.Dev, stat.Ino, names}
	w.blind = true
	return nil
}

// firstHandle is above every descriptor that the agent otherwise has.
const firstHandle = 100

// handle is a path for an open folder that no watched folder has: the watcher
// knows folders by their paths.
func (w *watch) handle(opened *os.File) (string, func(), error) {
	used := map[string]bool{}
	for _, f := range w.folders {
		used[f.handle] = true
	}
	for number := firstHandle; ; number++ {
		fd, err := unix.FcntlInt(opened.Fd(), unix.F_DUPFD_CLOEXEC, number)
		if err != nil {
			return "", nil, err
		}
		if handle := fmt.Sprintf("/proc/self/fd/%d", fd); !used[handle] {
			return handle, func() { _ = unix.Close(fd) }, nil
		}
		_ = unix.Close(fd)
		number = fd
	}
}

// drop ends the watches of folders that nothing depends on any more.
func (w *watch) drop(wanted entries) {
	for name, f := range w.folders {
		if _, needed := wanted[name]; !needed {
			_ = w.notify.Remove(f.handle)
			delete(w.folders, name)
		}
	}
}

// etcNames are the entries of /etc that decide over an account, and the folder
// of our own configuration, which may come later.
var etcNames = []string{"passwd", "shadow", "group", "nologin", "localtime", path.Base(path.Dir(DefaultConfigPath))}

// systemFolders are the folders outside of any home, with the entries that
// matter in each: sshd's configuration and keys, the account files, nologin(5).
func (a *Agent) systemFolders() entries {
	folders := a.commandWays()
	folders.add(filepath.Join(a.root, "/etc"), etcNames...)
	folders.add(filepath.Join(a.root, "/run"), "nologin")
	folders.add(filepath.Join(a.root, path.Dir(a.config.SSHD.Config)))
	folders.add(filepath.Join(a.root, path.Dir(sshd.DropIn)))
	files, err := a.sshd.ReadFiles()
	if err != nil {
		return folders
	}
	for _, file := range slices.Concat(files.Text().Files, files.Text().Globs) {
		folders.add(filepath.Join(a.root, path.Dir(file)))
	}
	return folders
}

// matters tells whether an event is about something the agent depends on. A
// folder that went, or was moved away, is not watched any more, even if its
// successor should have the same number.
func (w *watch) matters(event fsnotify.Event) bool {
	for name, f := range w.folders {
		switch f.handle {
		case event.Name:
			if event.Has(fsnotify.Remove) || event.Has(fsnotify.Rename) {
				_ = w.notify.Remove(f.handle)
				delete(w.folders, name)
			}
			return true
		case path.Dir(event.Name):
			return f.names == nil || slices.Contains(f.names, path.Base(event.Name))
		}
	}
	return true
}

// wait returns when something has changed and settled, or may have while nobody
// watched, when news comes, or when pause is over. A pause of 0 never is.
func (w *watch) wait(ctx context.Context, pause time.Duration, news <-chan struct{}) {
	if w.blind {
		w.settle(ctx)
		return
	}
	var timeout <-chan time.Time
	if pause > 0 {
		timer := time.NewTimer(pause)
		defer timer.Stop()
		timeout = timer.C
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-timeout:
			return
		case <-news:
			return
		case event := <-w.notify.Events:
			if w.matters(event) {
				w.settle(ctx)
				return
			}
		case <-w.mounts.changed:
			w.settle(ctx)
			return
		case <-w.notify.Errors: // events were lost: look for oneself
			w.settle(ctx)
			return
		}
	}
}

// settle waits until events have ceased for a moment, and never lets passes
// follow each other faster than one a second, whoever touches files in a loop.
func (w *watch) settle(ctx context.Context) {
	gap := max(settle, time.Until(w.last.Add(passGap)))
	end, quiet := time.NewTimer(settleMax), time.NewTimer(gap)
	defer end.Stop()
	defer quiet.Stop()
	defer func() { w.last, w.blind = time.Now(), false }()
	for {
		select {
		case event := <-w.notify.Events:
			if w.matters(event) {
				quiet.Reset(gap)
			}
		case <-w.notify.Errors:
			quiet.Reset(gap)
		case <-quiet.C:
			return
		case <-end.C:
			return
		case <-ctx.Done():
			return
		}
	}
}
