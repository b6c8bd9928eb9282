package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"syscall"

	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/internal/tree"
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
	dir, err := tree.MakeFolder(root, path.Dir(StateDir), 0o755)
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
	if err := tree.Remove(root, index.Bound); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the key index: %w", err)
	}
	return nil
}
