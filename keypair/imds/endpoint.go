package imds

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const invalidParameters = "Missing or Invalid Parameters"

// Endpoint serves one instance's metadata over HTTP. All its methods may be called while
// it serves; a request sees the state of one moment.
type Endpoint struct {
	tokens  *tokens
	hangups *hangups
	state   atomic.Pointer[state]

	mu      sync.Mutex // held to change state, and between looking at it and waiting for a change
	waiting map[watcher]struct{}
	limit   int // of len(waiting)
	closed  bool
}

// state is what an endpoint tells at one moment. It does not change once made.
type state struct {
	instance *Instance
	etag     []string // as the header has it
	fault    fault
	gone     bool // the instance is no more
}

// New returns the endpoint of an instance, which holds DefaultWatchers watchers at most.
func New(instance Instance) *Endpoint {
	return newEndpoint(instance, new(hangups), DefaultWatchers)
}

func newEndpoint(instance Instance, h *hangups, limit int) *Endpoint {
	e := &Endpoint{tokens: newTokens(), hangups: h, limit: limit}
	e.state.Store(&state{instance: new(Instance), etag: []string{""}})
	e.Set(instance)
	return e
}

// Set replaces all that is told about the instance. An endpoint of a Service is set by
// Service.Set, which has to know the addresses.
func (e *Endpoint) Set(instance Instance) {
	e.edit(func(i *Instance) { *i = instance.clone() })
}

// Bind binds a key pair: its name and its public key, one line of authorized_keys. A pair
// that was bound before is replaced. The line is told as it is; whoever keeps key pairs
// checks it.
func (e *Endpoint) Bind(name, publicKey string) {
	e.edit(func(i *Instance) {
		i.KeyPairName, i.KeyPairID, i.PublicKey = name, "", strings.TrimSuffix(publicKey, "\n")
	})
}

// Unbind takes the key pair away.
func (e *Endpoint) Unbind() {
	e.edit(func(i *Instance) { i.KeyPairName, i.KeyPairID, i.PublicKey = "", "", "" })
}

// Instance returns what is told now.
func (e *Endpoint) Instance() Instance { return e.state.Load().instance.clone() }

// ForgetTokens makes every token handed out so far unknown, as a restart of the endpoint does.
func (e *Endpoint) ForgetTokens() { e.tokens.forget() }

func (e *Endpoint) edit(edit func(*Instance)) {
	e.change(func(s *state) {
		instance := *s.instance
		edit(&instance)
		s.instance, s.etag = &instance, []string{instance.etag()}
	})
}

// change makes a new state from the one before and answers the watchers that it concerns.
func (e *Endpoint) change(edit func(*state)) {
	e.mu.Lock()
	before := e.state.Load()
	after := *before
	edit(&after)
	e.state.Store(&after)
	var released []watcher
	if after.tag() != before.tag() || after.closed() {
		released = e.release()
	}
	e.mu.Unlock()
	answerAll(released, after.fault)
}

func (s *state) tag() string { return s.etag[0] }

// closed reports whether nothing is told at all.
func (s *state) closed() bool { return s.gone || s.instance.HTTPEndpoint == EndpointDisabled }

// ServeHTTP answers for the instance, at once or when what is bound has changed, unless it is
// to misbehave on this path.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s := e.state.Load()
	if !e.admit(w, r, s) {
		return
	}
	wait, err := s.wait(r)
	switch {
	case err != nil:
		reply(w, http.StatusBadRequest, invalidParameters)
	case wait > 0:
		e.watch(w, r, s.tag(), wait)
	case r.RequestURI == keyPath && isPlain(s.instance.PublicKey):
		tellKey(w, s.instance.PublicKey)
	default:
		s.tell(w, r.URL.Path)
	}
}

// keyPath is what instances ask for most: the key alone.
const keyPath = "/latest/" + keysPath + "/0/openssh-key"

// isPlain reports whether net/http states by itself what the answer with a key has to
// state: that it is plain text, and its length.
func isPlain(key string) bool {
	return len(key) < shortBody && (strings.HasPrefix(key, "ssh-") || strings.HasPrefix(key, "ecdsa-") || strings.HasPrefix(key, "sk-"))
}

// tellKey sets no header, since net/http copies those that a handler sets, which is a tenth
// of all that such an answer takes. So this one has no ETag: the listing has it, and so
// has the same path when it is asked with a query, to wait.
func tellKey(w http.ResponseWriter, key string) { _, _ = io.WriteString(w, key) }

// answer answers a request that has waited long enough.
func (e *Endpoint) answer(w http.ResponseWriter, r *http.Request) {
	s := e.state.Load()
	if e.admit(w, r, s) {
		s.tell(w, r.URL.Path)
	}
}

// admit reports whether the request is a read that is to be answered from the tree. Any
// other has its answer already.
func (e *Endpoint) admit(w http.ResponseWriter, r *http.Request, s *state) bool {
	switch {
	case r.ContentLength != 0:
		refuseBody(w)
		return false
	case s.gone:
		reply(w, http.StatusNotFound, "Not Found")
		return false
	case s.fault.on(r.URL.Path) && s.fault.spoil(w, r, s.instance):
		return false
	case s.instance.HTTPEndpoint == EndpointDisabled:
		reply(w, http.StatusForbidden, "Forbidden")
		return false
	case r.URL.Path == tokenPath:
		e.serveToken(w, r)
		return false
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		reply(w, http.StatusMethodNotAllowed, "Method Not Allowed")
		return false
	}
	status := e.tokenStatus(r, s.instance.HTTPTokens == TokensRequired)
	if status != http.StatusOK {
		reply(w, status, http.StatusText(status))
	}
	return status == http.StatusOK
}

// refuseBody answers a request with a body, which none needs, and ends the connection: before the
// next request net/http would wait for the body, for as long as its server has no ReadTimeout.
func refuseBody(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(sendTime))
	w.Header().Set("Connection", "close")
	reply(w, http.StatusBadRequest, invalidParameters)
}

// tell answers from the tree.
func (s *state) tell(w http.ResponseWriter, path string) {
	value, ok := s.find(w.Header(), path)
	if !ok {
		reply(w, http.StatusNotFound, "Not Found")
		return
	}
	reply(w, http.StatusOK, value)
}

// find returns what is at the path, and sets the ETag where there is one.
func (s *state) find(h http.Header, path string) (string, bool) {
	if path == "/" {
		return lines(versions), true
	}
	below, ok := withoutVersion(path)
	if !ok {
		return "", false
	}
	if onKeys(below) {
		h["Etag"] = s.etag
	}
	return s.instance.find(below)
}

// shortBody is how many bytes of a body net/http buffers, and more.
const shortBody = 1 << 10

// plainText is the Content-Type of every answer.
var plainText = []string{"text/plain; charset=utf-8"}

// reply sends the one form every answer has: plain text of a stated length, no final newline.
// The length of a short one net/http states by itself, which is less work.
func reply(w http.ResponseWriter, status int, body string) {
	w.Header()["Content-Type"] = plainText
	if len(body) > shortBody {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body) // an error means that the client is gone
}
