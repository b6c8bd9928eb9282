package e2e

import (
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
	"github.com/latchkey-ssh/latchkey/keypair/imds"
)

// instanceID is what the endpoint calls every instance.
const instanceID = "i-e2e0instance00000000"

// endpoint is the metadata endpoint at its real address.
type endpoint struct {
	*imds.Endpoint
	network *network
	asked   atomic.Int64 // requests so far
	hangUp  func()       // nil while it does not listen

	mu  sync.Mutex
	log []request
}

// request is what was asked of the endpoint.
type request struct {
	method, path string
	token        bool // it has shown one
}

// newEndpoint serves the endpoint of an instance to which no key is bound.
func newEndpoint(t *testing.T, n *network) *endpoint {
	t.Helper()
	e := &endpoint{Endpoint: imds.New(imds.Instance{ID: instanceID}), network: n}
	e.start()
	t.Cleanup(e.stop)
	return e
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.asked.Add(1)
	e.mu.Lock()
	e.log = append(e.log, request{r.Method, r.URL.Path, r.Header.Get(tokenHeader) != ""})
	e.mu.Unlock()
	e.Endpoint.ServeHTTP(w, r)
}

// requests are those so far.
func (e *endpoint) requests() []request {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.log)
}

// start has the endpoint listen.
func (e *endpoint) start() {
	e.network.t.Helper()
	var listener net.Listener
	err := within(e.network.cloud, func() (err error) {
		listener, err = net.Listen("tcp", endpointAddress+":80")
		return err
	})
	if err != nil {
		e.network.t.Fatal(err)
	}
	server := &http.Server{Handler: e, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener) // until it is closed
	}()
	e.hangUp = func() {
		_ = server.Close()
		<-served
	}
}

// stop ends it: connections are refused from now on.
func (e *endpoint) stop() {
	if e.hangUp != nil {
		e.hangUp()
	}
	e.hangUp = nil
}

// bindNew binds a new key pair of that name.
func (e *endpoint) bindNew(name string) testmachine.Key {
	e.network.t.Helper()
	key := testmachine.NewKey(e.network.t, "ed25519")
	e.Bind(name, key.Line)
	return key
}

// loginAs names the initial logon user.
func (e *endpoint) loginAs(user string) {
	instance := e.Instance()
	instance.LoginUser = user
	e.Set(instance)
}
