package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// pidPath is where the pid file is, "" for none.
type pidPath string

func pidFile(root string, setting []string) pidPath {
	if len(setting) == 0 || strings.EqualFold(setting[0], "none") {
		return ""
	}
	return pidPath(filepath.Join("/", root, setting[0]))
}

// write writes the pid file; anew after a reload, as sshd does, so that whoever asked for it sees it done.
func (p pidPath) write() error {
	if p == "" {
		return nil
	}
	if err := os.WriteFile(string(p), []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644); err != nil {
		return fmt.Errorf("write PidFile: %w", err)
	}
	return nil
}

func (p pidPath) remove() {
	if p == "" {
		return
	}
	if err := os.Remove(string(p)); err != nil && !errors.Is(err, os.ErrNotExist) {
		fmt.Fprintln(os.Stderr, "latchkey-sshd:", err)
	}
}
