package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/latchkey-ssh/latchkey/authkeys/index"
)

// The folders of the key index that are latchkey's own. The helper has no rights of its
// own, so everybody may pass.
var indexFolders = []struct {
	name string
	mode fs.FileMode
}{{StateDir, stateDirMode}, {index.Dir, 0o755}}

// errIndexFolder is a folder for which the helper would refuse the index, and which is
// not latchkey's to put right.
var errIndexFolder = errors.New("the key index cannot be kept in " + index.Dir)

// checkIndexFolders tells what keeps the index from being where it belongs: somebody
// else may write to a folder above latchkey's own, or one of its own is something else
// than a folder.
func checkIndexFolders(root string) error {
	err := index.TrustedFolder(filepath.Join(root, path.Dir(StateDir)), 0, root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", errIndexFolder, err)
	}
	for _, folder := range indexFolders {
		info, err := os.Lstat(filepath.Join(root, folder.name))
		if err == nil && !info.IsDir() {
			return fmt.Errorf("%w: %s: %w", errIndexFolder, folder.name, errNoFolder)
		}
	}
	return nil
}

var errNoFolder = errors.New("there is a link or a file in its place")

// openIndexDir opens the folder of the indexes. It and the one above are made where they
// are missing, and set right where others may write to them or cannot pass.
func openIndexDir(root string) (*os.Root, error) {
	if err := checkIndexFolders(root); err != nil {
		return nil, err
	}
	dir, err := openFolder(root, path.Dir(StateDir), 0o755)
	for _, folder := range indexFolders {
		if err != nil {
			return nil, err
		}
		above := dir
		dir, err = openOwn(above, path.Base(folder.name), folder.mode)
		_ = above.Close()
	}
	return dir, err
}

// openFolder opens a folder of the instance, and makes it where it is missing. Links are
// followed, but never out of a root that is not the machine's own.
func openFolder(root, name string, mode fs.FileMode) (*os.Root, error) {
	if filepath.Clean(root) == "/" {
		if err := os.MkdirAll(name, mode); err != nil {
			return nil, err
		}
		return os.OpenRoot(name)
	}
	tree, err := os.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	defer tree.Close()
	below := strings.TrimPrefix(name, "/")
	if err := tree.MkdirAll(below, mode); err != nil {
		return nil, fmt.Errorf("make %s below %s: %w", name, root, err)
	}
	folder, err := tree.OpenRoot(below)
	if err != nil {
		return nil, fmt.Errorf("open %s below %s: %w", name, root, err)
	}
	return folder, nil
}

// readFile reads a file of the instance, by links as openFolder follows them.
func readFile(root, name string) ([]byte, error) {
	if filepath.Clean(root) == "/" {
		return os.ReadFile(name)
	}
	tree, err := os.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	defer tree.Close()
	return tree.ReadFile(strings.TrimPrefix(name, "/"))
}

// openOwn opens a folder that is latchkey's own, by no link, and sets it right.
func openOwn(above *os.Root, name string, mode fs.FileMode) (*os.Root, error) {
	shown := path.Join(above.Name(), name)
	if err := above.Mkdir(name, mode); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make %s: %w", shown, err)
	}
	entry, err := above.Lstat(name)
	if err != nil {
		return nil, fmt.Errorf("look at %s: %w", shown, err)
	}
	folder, err := above.OpenRoot(name)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", shown, err)
	}
	if err := setRight(folder, entry, mode); err != nil {
		_ = folder.Close()
		return nil, fmt.Errorf("%s: %w", shown, err)
	}
	return folder, nil
}

// setRight makes the folder, which is the one that entry is of, root's, with at least
// that mode, and not to be written by others.
func setRight(folder *os.Root, entry fs.FileInfo, mode fs.FileMode) error {
	dir, err := folder.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	info, err := dir.Stat()
	if err != nil {
		return err
	}
	if !os.SameFile(entry, info) {
		return errNoFolder
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; owner != 0 {
		if err := dir.Chown(0, 0); err != nil {
			return fmt.Errorf("make it root's: %w", err)
		}
	}
	passable := (info.Mode().Perm() | mode) &^ 0o022
	if info.Mode().Perm() == passable {
		return nil
	}
	if err := dir.Chmod(passable); err != nil {
		return fmt.Errorf("let it be passed: %w", err)
	}
	return nil
}

// removeIndex removes the index for good.
func removeIndex(root string) error {
	if _, err := os.Lstat(filepath.Join(root, index.Bound)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	dir, err := openFolder(root, index.Dir, 0o755)
	if err != nil {
		return fmt.Errorf("remove the key index: %w", err)
	}
	defer dir.Close()
	if err := dir.Remove(path.Base(index.Bound)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the key index: %w", err)
	}
	opened, err := dir.Open(".")
	if err != nil {
		return fmt.Errorf("remove the key index: %w", err)
	}
	defer opened.Close()
	return opened.Sync()
}

// commandWays are the folders on the way to the indexes and to the helper, each with the
// entries that lead on. The helper refuses an index, and sshd the helper, for the owner
// or the mode of any of them.
func (a *Agent) commandWays() map[string][]string {
	ways := map[string][]string{}
	if !a.config.Apply.Delivery.command() {
		return ways
	}
	a.addWay(ways, index.Bound)
	a.addWay(ways, index.Users)
	for _, folder := range helperFolders {
		a.addWay(ways, path.Join(folder, helperName))
	}
	return ways
}

// addWay adds the folders above a file, as they lie, up to the root.
func (a *Agent) addWay(ways map[string][]string, file string) {
	name := filepath.Join(a.root, file)
	if folder, err := filepath.EvalSymlinks(filepath.Dir(name)); err == nil {
		name = filepath.Join(folder, filepath.Base(name))
	}
	for name != "/" && name != filepath.Clean(a.root) {
		folder := filepath.Dir(name)
		ways[folder] = joinNames(append([]string{}, ways[folder]...), []string{filepath.Base(name)})
		name = folder
	}
}

// stampIndexes covers what the helper goes by besides the bound keys: owner and mode of
// the folders on those ways, and the administrator's index.
func (a *Agent) stampIndexes() any {
	if !a.config.Apply.Delivery.command() {
		return nil
	}
	seen := map[string][]uint32{}
	for name := range a.commandWays() {
		var stat syscall.Stat_t
		if err := syscall.Stat(name, &stat); err == nil {
			seen[name] = []uint32{stat.Uid, stat.Mode}
		}
	}
	return []any{seen, lookAtUsersIndex(a.root)}
}
