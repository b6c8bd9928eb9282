package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/sshd/target"
)

// logins are who may log in, by the options.
type logins struct {
	names, methods        []string
	keyFiles, authorities []string
	passwordFile          string
	generate              bool
}

// account is a user as the options have it.
type account struct {
	target.User
	generated bool // the password was made here, and may be shown
}

// accounts are the users, in the order in which they were named.
func (l *logins) accounts() ([]account, error) {
	var all []account
	for _, name := range l.names {
		all = append(all, account{User: target.User{Name: name}})
	}
	all, err := l.addPasswords(all)
	if err != nil {
		return nil, err
	}
	return all, l.addMethods(all)
}

// addPasswords gives the users theirs; whoever has one in the file is a user too.
func (l *logins) addPasswords(all []account) ([]account, error) {
	if l.passwordFile != "" {
		passwords, err := readPasswords(l.passwordFile)
		if err != nil {
			return nil, err
		}
		for _, p := range passwords {
			i := named(all, p.user)
			if i < 0 {
				i = len(all)
				all = append(all, account{User: target.User{Name: p.user}})
			}
			all[i].Password = p.password
		}
	}
	if l.generate && len(all) == 0 {
		return nil, fmt.Errorf("%w: --generate-password needs a --user", errUsage)
	}
	for i := range all {
		if l.generate && all[i].Password == "" {
			all[i].Password, all[i].generated = rand.Text(), true
		}
	}
	return all, nil
}

func (l *logins) addMethods(all []account) error {
	for _, text := range l.methods {
		name, list, ok := strings.Cut(text, "=")
		if !ok || list == "" {
			return fmt.Errorf("%w: --methods %s: want USER=LIST, such as ada=publickey,password", errUsage, text)
		}
		i := named(all, name)
		if i < 0 {
			return fmt.Errorf("%w: --methods %s: there is no such user; add --user %s", errUsage, text, name)
		}
		all[i].Methods = list
	}
	return nil
}

func named(all []account, name string) int {
	return slices.IndexFunc(all, func(a account) bool { return a.Name == name })
}

// options are those of the server.
func (l *logins) options(all []account) ([]target.Option, error) {
	var options []target.Option
	for _, a := range all {
		options = append(options, target.WithUser(a.User))
	}
	for _, file := range l.keyFiles {
		options = append(options, target.WithAuthorizedKeysFile(file))
	}
	for _, file := range l.authorities {
		keys, err := readPublicKeys(file)
		if err != nil {
			return nil, err
		}
		options = append(options, target.WithUserCA(keys...))
	}
	return options, nil
}

// readPublicKeys reads the keys of a file that has one a line, as TrustedUserCAKeys names it.
func readPublicKeys(file string) ([]ssh.PublicKey, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read public keys: %w", err)
	}
	var keys []ssh.PublicKey
	number := 0
	for line := range bytes.Lines(data) {
		number++
		if line = bytes.TrimSpace(line); len(line) == 0 || line[0] == '#' {
			continue
		}
		key, _, _, _, err := ssh.ParseAuthorizedKey(line)
		if err != nil {
			return nil, fmt.Errorf("read public keys: %s:%d: not a public key", file, number)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("read public keys: %s has none", file)
	}
	return keys, nil
}
