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
)

const maxKeysFile = 16 << 20

var errNotListed = errors.New("no line of authorized_keys has the key")

// authorize returns what the key is granted by the first line that accepts it (sshd(8)).
func (p *policy) authorize(key ssh.PublicKey, now time.Time) (*authkeys.Options, error) {
	if err := p.acceptsKind(key); err != nil {
		return nil, err
	}
	if err := p.notRevoked(key); err != nil {
		return nil, err
	}
	granted, err := p.findGrant(key, now)
	if err == nil && granted.VerifyRequired && isSecurityKey(key) {
		return nil, errVerifyRequired
	}
	return granted, err
}

func (p *policy) findGrant(key ssh.PublicKey, now time.Time) (*authkeys.Options, error) {
	if cert, certified := key.(*ssh.Certificate); certified {
		return p.authorizeCertificate(cert, now)
	}
	addr, _ := netip.ParseAddr(p.conn.Addr)
	return p.findLine(key.Marshal(), func(line *authkeys.Entry) (*authkeys.Options, error) {
		return &line.Options, line.Permits(addr, "", now)
	})
}

// findLine asks the lines with this key, of all sources, for the first that grants something. A file that cannot be
// read is passed over, as in sshd; a function that fails refuses.
func (p *policy) findLine(blob []byte, ask func(*authkeys.Entry) (*authkeys.Options, error)) (*authkeys.Options, error) {
	why := errNotListed
	for _, source := range p.keySources() {
		data, err := p.readSource(source)
		if err != nil && source.read != nil {
			return nil, keysFuncError{err}
		}
		if err != nil {
			why = err
			continue
		}
		for _, line := range authkeys.Parse(data).Keys() {
			if !bytes.Equal(line.Blob, blob) {
				continue
			}
			granted, err := ask(line)
			if err == nil {
				return granted, nil
			}
			why = err
		}
	}
	return nil, why
}

// keysFuncError is that of a function of the options: it refuses, whatever else would let the key in.
type keysFuncError struct{ error }

func (e keysFuncError) Unwrap() error { return e.error }

// keySources are those of the options, else the files that AuthorizedKeysFile names.
func (p *policy) keySources() []keySource {
	if len(p.keys) > 0 {
		return p.keys
	}
	var files []keySource
	for _, pattern := range p.args("authorizedkeysfile") {
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
	return p.readUserFile("AuthorizedKeysFile", source.file)
}

// readUserFile reads a file of the user's that a keyword names by a pattern; a missing one is empty.
func (p *policy) readUserFile(keyword, pattern string) ([]byte, error) {
	path, err := p.userPath(keyword, pattern)
	if err != nil || path == "" {
		return nil, err
	}
	data, err := readRegular(path, maxKeysFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && p.is("strictmodes") {
		err = p.strict(path)
	}
	return data, err
}

// userPath expands the tokens of AuthorizedKeysFile and AuthorizedPrincipalsFile. It is "" for none, and for a user who has
// no home where the path needs one.
func (p *policy) userPath(keyword, pattern string) (string, error) {
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
			return "", fmt.Errorf("%s %s: unknown token", keyword, pattern)
		}
		path.WriteString(value)
	}
	if relative {
		return filepath.Join(p.home, path.String()), nil
	}
	return filepath.Join(p.root, path.String()), nil
}

// path is where a file of the configuration is.
func (p *policy) path(file string) string { return filepath.Join(p.root, file) }

// readRegular does not wait for a FIFO's writer, and does not read what is no file, or larger than most bytes.
func readRegular(path string, most int) ([]byte, error) {
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
	data, err := io.ReadAll(io.LimitReader(f, int64(most)+1))
	if err == nil && len(data) > most {
		err = fmt.Errorf("read %s: larger than %d bytes", path, most)
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
