package metadata

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

const keysLeaf = "public-keys/"

// maxListed is how many directories below public-keys/ are read: each key under its number
// and under one name.
const maxListed = 2 * maxKeys

var errWebPage = errors.New("a web page came instead of metadata: a captive portal or proxy in between?")

// visit is one reading of the endpoint's tree, from identity to identity.
type visit struct {
	client  *Client
	version string
	token   string
	renewed bool   // a refused token was replaced; it is done once
	etag    string // of the listing of keys, empty when it has none
}

// read makes one visit. The instance is identified before the keys and again after them,
// so that no key of another instance comes in between.
func (c *Client) read(ctx context.Context) (Binding, error) {
	token, err := c.currentToken(ctx)
	if err != nil {
		return Binding{}, err
	}
	v := &visit{client: c, token: token}
	id, err := v.identify(ctx)
	if err != nil {
		return Binding{}, err
	}
	keys, err := v.keys(ctx)
	if err != nil {
		return Binding{}, err
	}
	user, err := v.loginUser(ctx)
	if err != nil {
		return Binding{}, err
	}
	if err := v.stillFrom(ctx, id); err != nil {
		return Binding{}, err
	}
	c.remember(v.version, id)
	return newBinding(id, user, keys, v.etag), nil
}

func newBinding(id, user string, keys []Key, etag string) Binding {
	state := Bound
	if len(keys) == 0 {
		state = Unbound
	}
	return Binding{State: state, InstanceID: id, User: user, Keys: keys, ETag: etag}
}

// known returns what the client knows from before: the instance, and the trees to look in,
// beginning with the one that was there last time.
func (c *Client) known() (instance string, trees []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.options.Version != "":
		trees = []string{c.options.Version}
	case c.version == versions[1]:
		trees = []string{versions[1], versions[0]}
	default:
		trees = versions
	}
	return c.instance, trees
}

func (c *Client) remember(version, id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.version, c.instance = version, id
}

// identify finds the tree and the instance that answers, which must be the one known from before.
func (v *visit) identify(ctx context.Context) (string, error) {
	known, trees := v.client.known()
	var id string
	var err error
	for _, v.version = range trees {
		if id, err = v.instanceID(ctx); !errors.Is(err, errNotFound) {
			break
		}
	}
	if err != nil {
		return "", err
	}
	if known != "" && id != known {
		return "", fmt.Errorf("endpoint answers for instance %s, this is %s", id, known)
	}
	return id, nil
}

// stillFrom checks that the instance identified first is the one that answers now.
func (v *visit) stillFrom(ctx context.Context, id string) error {
	now, err := v.instanceID(ctx)
	if err != nil {
		return err
	}
	if now != id {
		return fmt.Errorf("endpoint answered for instance %s, then for %s", id, now)
	}
	return nil
}

func (v *visit) instanceID(ctx context.Context) (string, error) {
	body, err := v.get(ctx, "instance-id")
	if err != nil {
		return "", err
	}
	if !validInstanceID(body) {
		return "", v.unlike("instance-id", body, "an instance id")
	}
	return body, nil
}

// keys returns the bound keys in the order listed, each once; none when the endpoint says
// that there is none. A key that is listed and cannot be had whole spoils them all: a
// shorter set would lock its owner out. The ETag is that of the listing, which is read
// before them: what changes meanwhile has another one.
func (v *visit) keys(ctx context.Context) ([]Key, error) {
	listing, err := v.ask(ctx, keysLeaf)
	v.etag = listing.etag
	switch {
	case errors.Is(err, errNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	}
	names, err := v.parseListing(listing.body)
	if err != nil {
		return nil, err
	}
	var keys []Key
	for _, name := range names {
		key, err := v.key(ctx, name)
		if err != nil {
			return nil, err
		}
		keys = addKey(keys, key)
	}
	if len(keys) > maxKeys {
		return nil, fmt.Errorf("%d keys are bound, at most %d are taken", len(keys), maxKeys)
	}
	return keys, nil
}

// parseListing returns the directories listed below public-keys/, doubles removed.
func (v *visit) parseListing(body string) ([]string, error) {
	if body == "" {
		return nil, nil
	}
	var names []string
	for line := range strings.SplitSeq(body, "\n") {
		name := strings.TrimSuffix(strings.TrimSuffix(line, "\r"), "/")
		if !validName(name) {
			return nil, v.unlike(keysLeaf, body, "a listing of keys")
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
		if len(names) > maxListed {
			return nil, fmt.Errorf("read %s: more than %d entries", v.url(keysLeaf), maxListed)
		}
	}
	return names, nil
}

func (v *visit) key(ctx context.Context, name string) (Key, error) {
	leaf := keysLeaf + url.PathEscape(name) + "/openssh-key"
	body, err := v.get(ctx, leaf)
	if err != nil {
		return Key{}, err
	}
	if looksLikePage(body) {
		return Key{}, v.unlike(leaf, body, "a public key")
	}
	key, err := ParseKey(body)
	if err != nil {
		return Key{}, fmt.Errorf("read %s: %w", v.url(leaf), err)
	}
	if !isNumber(name) {
		key.Name = name
	}
	return key, nil
}

func isNumber(name string) bool {
	return !strings.ContainsFunc(name, func(r rune) bool { return r < '0' || r > '9' })
}

// addKey appends a key, or adds its name to the same key listed before.
func addKey(keys []Key, key Key) []Key {
	for i := range keys {
		if !sameKey(keys[i], key) {
			continue
		}
		keys[i].Name = strings.Trim(keys[i].Name+","+key.Name, ",")
		return keys
	}
	return append(keys, key)
}

// loginUser returns the logon user that the endpoint names, empty when it names none.
func (v *visit) loginUser(ctx context.Context) (string, error) {
	body, err := v.get(ctx, "login-user")
	switch {
	case errors.Is(err, errNotFound):
		return "", nil
	case err != nil:
		return "", err
	case !validUser(body):
		return "", v.unlike("login-user", body, "a user name")
	}
	return body, nil
}

// get reads one leaf or listing below meta-data/, without its final newline.
func (v *visit) get(ctx context.Context, leaf string) (string, error) {
	got, err := v.ask(ctx, leaf)
	return got.body, err
}

// ask is get with all of the answer. One of 404 is errNotFound and the answer without its body.
func (v *visit) ask(ctx context.Context, leaf string) (answer, error) {
	return v.withToken(ctx, func() (answer, error) {
		got, err := v.client.send(ctx, http.MethodGet, v.path(leaf), v.header())
		return v.checked(leaf, got, err)
	})
}

// withToken makes a request. A token that is refused is replaced once a visit.
func (v *visit) withToken(ctx context.Context, request func() (answer, error)) (answer, error) {
	got, err := request()
	if v.token == "" || v.renewed || !errors.Is(err, errUnauthorized) {
		return got, err
	}
	v.renewed = true
	v.client.dropToken(v.token)
	if v.token, err = v.client.currentToken(ctx); err != nil {
		return answer{}, err
	}
	return request()
}

func (v *visit) header() http.Header {
	header := make(http.Header, 2)
	if v.token != "" {
		header[tokenHeader] = []string{v.token}
	}
	return header
}

// checked names what was read in every error, and keeps the body of a 200 only.
func (v *visit) checked(leaf string, got answer, err error) (answer, error) {
	if err == nil {
		err = checkStatus(got.status)
	}
	if err != nil {
		return answer{status: got.status, etag: got.etag}, fmt.Errorf("read %s: %w", v.url(leaf), err)
	}
	got.body = chomp(got.body)
	return got, nil
}

func (v *visit) path(leaf string) string { return "/" + v.version + "/meta-data/" + leaf }

func (v *visit) url(leaf string) string { return v.client.base + v.path(leaf) }

// unlike says that a body is not what belongs there, without quoting it.
func (v *visit) unlike(leaf, body, what string) error {
	if looksLikePage(body) {
		return fmt.Errorf("read %s: %w", v.url(leaf), errWebPage)
	}
	return fmt.Errorf("read %s: what came is not %s", v.url(leaf), what)
}

func looksLikePage(body string) bool {
	return strings.HasPrefix(strings.TrimLeft(body, " \t\r\n"), "<")
}

// chomp removes one final newline, which an endpoint may or may not send.
func chomp(body string) string {
	return strings.TrimSuffix(strings.TrimSuffix(body, "\n"), "\r")
}
