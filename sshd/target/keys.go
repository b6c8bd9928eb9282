package target

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

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
		granted := line.Options // without the line, which would last as long as the connection
		return &granted, line.Permits(addr, "", now)
	})
}

// findLine asks the lines with this key, of all sources, for the first that grants something. A file that cannot be
// read is passed over, as in sshd; a function that fails refuses. The error is for the record alone: what is likely to be amiss.
func (p *policy) findLine(blob []byte, ask func(*authkeys.Entry) (*authkeys.Options, error)) (*authkeys.Options, error) {
	why := errNotListed
	var missing []string
	for _, source := range p.keySources() {
		data, err := p.readSource(source)
		if err != nil && source.read != nil {
			return nil, keysFuncError{err}
		}
		var gone missingFile
		if errors.As(err, &gone) {
			missing = append(missing, gone.path)
			continue
		}
		if err != nil {
			why = err
			continue
		}
		for number, line := range authkeys.Parse(data).Lines {
			if isInvalidLineOf(line, blob) {
				why = fmt.Errorf("the key's line is not valid: %s: %w", source.place(number+1), line.Err)
			}
			if line.Kind != authkeys.Key || !bytes.Equal(line.Entry.Blob, blob) {
				continue
			}
			granted, err := ask(line.Entry)
			if err == nil {
				return granted, nil
			}
			why = err
		}
	}
	if errors.Is(why, errNotListed) && len(missing) > 0 {
		why = fmt.Errorf("%w; %s does not exist", why, strings.Join(missing, ", "))
	}
	return nil, why
}

// isInvalidLineOf tells whether the line is that of the key, but for something in it that sshd would pass it over for.
func isInvalidLineOf(line authkeys.Line, blob []byte) bool {
	return line.Kind == authkeys.Bad && bytes.Contains(line.Raw, base64.StdEncoding.AppendEncode(nil, blob))
}

// place names a line, but of the file only as it stands in the options or the configuration.
func (s keySource) place(line int) string {
	if s.file == "" {
		return fmt.Sprintf("line %d", line)
	}
	return fmt.Sprintf("%s:%d", s.file, line)
}

// missingFile is a file of keys that is not there, which sshd takes for an empty one.
type missingFile struct{ path string }

func (f missingFile) Error() string { return f.path + " does not exist" }

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
		files = append(files, keySource{file: pattern, asUser: true})
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
	return p.readUserFile("AuthorizedKeysFile", source)
}

// readUserFile reads a file of the user's that a keyword names by a pattern. The error is a [missingFile] where there is none.
func (p *policy) readUserFile(keyword string, source keySource) ([]byte, error) {
	path, err := p.userPath(keyword, source.file)
	if err != nil || path == "" {
		return nil, err
	}
	read := p.readFile
	if source.asUser {
		read = p.readAsUser
	}
	data, err := read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, missingFile{path}
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
	path, err := p.expand(keyword, pattern)
	if err != nil {
		return "", err
	}
	if relative {
		return filepath.Join(p.home, path), nil
	}
	return p.path(path), nil
}

// expand puts the values of tokens in their places.
func (p *policy) expand(keyword, pattern string) (string, error) {
	if !strings.Contains(pattern, "%") {
		return pattern, nil
	}
	tokens := map[byte]string{'%': "%", 'u': p.conn.User, 'U': strconv.Itoa(p.who.UID), 'h': p.who.Home}
	var expanded strings.Builder
	for i := 0; i < len(pattern); i++ {
		if pattern[i] != '%' {
			expanded.WriteByte(pattern[i])
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
		expanded.WriteString(value)
	}
	return expanded.String(), nil
}

// path is where a file of the configuration is.
func (p *policy) path(file string) string { return filepath.Join(p.root, file) }
