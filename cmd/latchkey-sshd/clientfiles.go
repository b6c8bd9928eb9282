package main

import (
	"io/fs"
	"os"
	"path/filepath"

	"github.com/latchkey-ssh/latchkey/sshd/target"
)

// clientFiles are what was written for ssh -F. They say where a server is that is gone when the program is.
type clientFiles struct {
	folder string
	made   bool // the folder too
	files  []fs.FileInfo
}

// writeClientFiles writes them, and returns the path of the configuration.
func writeClientFiles(server *target.Server, folder string) (*clientFiles, string, error) {
	_, err := os.Lstat(folder)
	w := &clientFiles{folder: folder, made: os.IsNotExist(err)}
	config, err := server.WriteSSHConfig(folder)
	if err != nil {
		return w, "", err
	}
	w.folder = filepath.Dir(config)
	for _, name := range []string{"config", "known_hosts", "id_ed25519"} {
		if name == "id_ed25519" && server.ClientKeyPEM() == nil {
			continue // one that is there is somebody else's
		}
		if info, err := os.Lstat(filepath.Join(w.folder, name)); err == nil {
			w.files = append(w.files, info)
		}
	}
	return w, config, nil
}

// remove removes those that are still the ones that were written, and the folder if it was made for them and holds nothing else.
func (w *clientFiles) remove() {
	for _, file := range w.files {
		path := filepath.Join(w.folder, file.Name())
		if now, err := os.Lstat(path); err == nil && os.SameFile(file, now) {
			_ = os.Remove(path)
		}
	}
	if w.made {
		_ = os.Remove(w.folder)
	}
}
