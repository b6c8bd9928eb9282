package imds

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// Endpoint serves one instance's metadata over HTTP. All its methods may be called while
// it serves; a request sees the state of one moment.
type Endpoint struct {
	tokens tokens

	mu       sync.Mutex
	instance Instance
	tree     tree
	fault    fault
}

// New returns the endpoint of an instance.
func New(instance Instance) *Endpoint {
	e := &Endpoint{}
	e.Set(instance)
	return e
}

// Set replaces all that is told about the instance.
func (e *Endpoint) Set(instance Instance) {
	e.change(func(i *Instance) { *i = instance })
}

// Bind binds a key pair: its name and its public key, one line of authorized_keys. A pair
// that was bound before is replaced. The line is told as it is; whoever keeps key pairs
// checks it.
func (e *Endpoint) Bind(name, publicKey string) {
	e.change(func(i *Instance) {
		i.KeyPairName, i.KeyPairID, i.PublicKey = name, "", strings.TrimSuffix(publicKey, "\n")
	})
}

// Unbind takes the key pair away.
func (e *Endpoint) Unbind() {
	e.change(func(i *Instance) { i.KeyPairName, i.KeyPairID, i.PublicKey = "", "", "" })
}

// Instance returns what is told now.
func (e *Endpoint) Instance() Instance {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.instance
}

// ForgetTokens makes every token handed out so far unknown, as a restart of the endpoint does.
func (e *Endpoint) ForgetTokens() { e.tokens.forget() }

func (e *Endpoint) change(edit func(*Instance)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	edit(&e.instance)
	e.tree = newTree(e.instance)
}

// now returns the state of this moment.
func (e *Endpoint) now() (Instance, tree, fault) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.instance, e.tree, e.fault
}

// ServeHTTP answers for the instance, unless it is to misbehave on this path.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	instance, tree, fault := e.now()
	switch {
	case fault.on(r.URL.Path) && fault.spoil(w, r, instance):
	case instance.HTTPEndpoint == EndpointDisabled:
		reply(w, http.StatusForbidden, "Forbidden")
	case r.URL.Path == tokenPath:
		e.serveToken(w, r)
	default:
		e.serveTree(w, r, tree, instance.HTTPTokens == TokensRequired)
	}
}

func (e *Endpoint) serveTree(w http.ResponseWriter, r *http.Request, tree tree, tokenRequired bool) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		reply(w, http.StatusMethodNotAllowed, "Method Not Allowed")
		return
	}
	if status := e.tokenStatus(r, tokenRequired); status != http.StatusOK {
		reply(w, status, http.StatusText(status))
		return
	}
	value, ok := tree.find(r.URL.Path)
	if !ok {
		reply(w, http.StatusNotFound, "Not Found")
		return
	}
	reply(w, http.StatusOK, value)
}

// reply sends the one form every answer has: plain text of a stated length, no final newline.
func reply(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body)) // an error means that the client is gone
}
