package agent

import (
	"os"
	"path"
	"path/filepath"
	"syscall"

	"github.com/latchkey-ssh/latchkey/authkeys/index"
)

// commandWays are the folders on the way to the indexes and to the helper, each with the
// entries that lead on. The helper refuses an index, and sshd the helper, for the owner
// or the mode of any of them.
func (a *Agent) commandWays() entries {
	ways := entries{}
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
func (a *Agent) addWay(ways entries, file string) {
	name := filepath.Join(a.root, file)
	if folder, err := filepath.EvalSymlinks(filepath.Dir(name)); err == nil {
		name = filepath.Join(folder, filepath.Base(name))
	}
	for name != "/" && name != filepath.Clean(a.root) {
		folder := filepath.Dir(name)
		ways.add(folder, filepath.Base(name))
		name = folder
	}
}

// stampCommand covers what the helper's answers depend on besides the bound keys.
func (a *Agent) stampCommand(w *World) any {
	if !a.config.Apply.Delivery.command() {
		return nil
	}
	var refused string
	if w.NoCommand != nil {
		refused = w.NoCommand.Error()
	}
	folders := map[string][]uint32{}
	for name := range a.commandWays() {
		var stat syscall.Stat_t
		if err := syscall.Stat(name, &stat); err == nil {
			folders[name] = []uint32{stat.Uid, stat.Mode}
		}
	}
	return []any{w.Command, refused, a.stampHelper(), folders, lookAtUsersIndex(a.root)}
}

// stampHelper covers the helper as a file. It may be replaced, or spoilt, with no
// change to sshd's configuration.
func (a *Agent) stampHelper() any {
	name, err := a.helper()
	if err != nil {
		return nil
	}
	info, err := os.Stat(filepath.Join(a.root, name))
	if err != nil {
		return nil
	}
	return []any{name, info.Size(), info.ModTime().UnixNano(), info.Mode()}
}
