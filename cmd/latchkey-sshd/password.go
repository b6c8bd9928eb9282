package main

import (
	"fmt"
	"os"
	"strings"
)

// secret is a user's password.
type secret struct{ user, password string }

// readPasswords reads user:password lines. The file must be its owner's alone.
func readPasswords(path string) ([]secret, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read passwords: %w", err)
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("read passwords: %s must be a file that only its owner can read: chmod 600 %s", path, path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read passwords: %w", err)
	}
	var passwords []secret
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			continue
		}
		user, password, ok := strings.Cut(line, ":")
		if !ok || user == "" || password == "" {
			return nil, fmt.Errorf("read passwords: %s:%d: expected user:password", path, number)
		}
		passwords = append(passwords, secret{user, password})
	}
	if len(passwords) == 0 {
		return nil, fmt.Errorf("read passwords: %s has none", path)
	}
	return passwords, nil
}
