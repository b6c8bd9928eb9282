package target

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/authkeys"
	"github.com/latchkey-ssh/latchkey/sshd"
)

const maxKeysFile = 16 << 20

var errNotListed = errors.New("no line of authorized_keys has the key")

// authorize returns the line that lets the key in: of all files the first that accepts it (sshd(8)).
func (p *policy) authorize(key ssh.PublicKey, now time.Time) (*authkeys.Entry, error) {
	if err := p.acceptsKind(key); err != nil {
		return nil, err
	}
	addr, _ := netip.ParseAddr(p.conn.Addr)
	blob, why := key.Marshal(), errNotListed
	for _, source := range p.keySources() {
		data, err := p.readSource(source)
		if err != nil {
			why = err
			continue
		}
		for _, entry := range authkeys.Parse(data).Keys() {
			if !bytes.Equal(entry.Blob, blob) {
				continue
			}
			if why = p.permits(entry, addr, now); why == nil {
				return entry, nil
			}
		}
	}
	return nil, why
}

// keySources are those of the options, else the files that AuthorizedKeysFile names.
func (p *policy) keySources() []keySource {
	if len(p.keys) > 0 {
		return p.keys
	}
	var files []keySource
	for _, pattern := range p.values["authorizedkeysfile"] {
		files = append(files, keySource{file: pattern})
	}
	return files
}

// keySources are the user's own.
func (o *options) keySources(u User) []keySource {
	var own []keySource
	if u.AuthorizedKeys != "" {
		own = append(own, keySource{read: func(string) ([]byte, error) { return []byte(u.AuthorizedKeys), nil }})
	}
	if u.AuthorizedKeysFile != "" {
		own = append(own, o.fileKeys(u.AuthorizedKeysFile))
	}
	return own
}

func (p *policy) readSource(source keySource) ([]byte, error) {
	if source.read != nil {
		return source.read(p.conn.User)
	}
	return p.readKeys(source.file)
}

// permits asks the line. A signature's proof that a security key verified its user is not looked at here,
// so a line that wants it lets nobody in.
func (p *policy) permits(entry *authkeys.Entry, addr netip.Addr, now time.Time) error {
	if entry.Options.VerifyRequired {
		return errors.New("verify-required is not supported by this server")
	}
	return entry.Permits(addr, "", now)
}

// readKeys reads one of the files that AuthorizedKeysFile names; a missing one is empty.
func (p *policy) readKeys(pattern string) ([]byte, error) {
	path, err := p.keysPath(pattern)
	if err != nil || path == "" {
		return nil, err
	}
	data, err := readKeysFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && p.is("strictmodes") {
		err = p.strict(path)
	}
	return data, err
}

// keysPath expands the tokens of AuthorizedKeysFile. It is "" for none, and for a user who has no home where the
// path needs one.
func (p *policy) keysPath(pattern string) (string, error) {
	if strings.EqualFold(pattern, "none") {
		return "", nil
	}
	relative := !strings.HasPrefix(pattern, "/") && !strings.HasPrefix(pattern, "%h")
	if p.home == "" && (relative || strings.Contains(pattern, "%h") || strings.Contains(pattern, "%U")) {
		return "", nil
	}
	tokens := map[byte]string{'%': "%", 'u': p.conn.User, 'U': strconv.Itoa(p.who.UID), 'h': p.who.Home}
	var path strings.Builder
	for i := 0; i < len(pattern); i++ {
		if pattern[i] != '%' {
			path.WriteByte(pattern[i])
			continue
		}
		i++
		value, known := "", false
		if i < len(pattern) {
			value, known = tokens[pattern[i]]
		}
		if !known {
			return "", fmt.Errorf("AuthorizedKeysFile %s: unknown token", pattern)
		}
		path.WriteString(value)
	}
	if relative {
		return filepath.Join(p.home, path.String()), nil
	}
	return filepath.Join(p.root, path.String()), nil
}

// readKeysFile does not wait for a FIFO's writer, and does not read what is no file.
func readKeysFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: not a regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxKeysFile+1))
	if err == nil && len(data) > maxKeysFile {
		err = fmt.Errorf("read %s: larger than %d bytes", path, maxKeysFile)
	}
	return data, err
}

// strict is StrictModes: the file and the folders above it, up to the home or the root, may be written to by
// nobody but their owner, who is root, the user, or whoever runs this server.
func (p *policy) strict(path string) error {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	stops := []string{"/", p.root}
	for _, dir := range []string{p.root, p.home} {
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			stops = append(stops, real)
		}
	}
	for ; ; path = filepath.Dir(path) {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if err := p.trusts(path, info); err != nil {
			return err
		}
		if slices.Contains(stops, path) {
			return nil
		}
	}
}

func (p *policy) trusts(path string, info fs.FileInfo) error {
	owner, ok := ownerOf(info)
	if !ok || owner != 0 && owner != p.who.UID && owner != os.Geteuid() {
		return fmt.Errorf("StrictModes: %s has a bad owner", path)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("StrictModes: %s is writable by others (mode %#o)", path, info.Mode().Perm())
	}
	return nil
}

// keyAlgorithms are the signature algorithms that PubkeyAcceptedAlgorithms leaves, of those this server has.
func (p *policy) keyAlgorithms() []string {
	all := ssh.SupportedAlgorithms().PublicKeyAuths
	list := p.value("pubkeyacceptedalgorithms")
	keep := func(name string) bool { return sshd.MatchesList(name, list) }
	switch {
	case list == "" || list[0] == '+' || list[0] == '^':
		return all
	case list[0] == '-':
		keep = func(name string) bool { return !sshd.MatchesList(name, list[1:]) }
	}
	return slices.DeleteFunc(all, func(name string) bool { return !keep(name) })
}
