package agent

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// endpoint is the least that a metadata client needs: an instance id, and the
// keys bound to it.
type endpoint struct {
	*httptest.Server

	mu       sync.Mutex
	lines    []string
	instance string
	down     bool
	visits   int // how often the instance id was asked for
}

func newEndpoint(t *testing.T, keys ...testmachine.Key) *endpoint {
	t.Helper()
	e := &endpoint{instance: testInstance}
	e.bind(keys...)
	e.Server = httptest.NewServer(e)
	t.Cleanup(e.Close)
	return e
}

// bind makes keys the bound ones.
func (e *endpoint) bind(keys ...testmachine.Key) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lines = nil
	for _, key := range keys {
		e.lines = append(e.lines, key.Line)
	}
}

// set changes the endpoint while it is not answering.
func (e *endpoint) set(change func(e *endpoint)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change(e)
}

// visited is how many times the endpoint was read; each time it is asked for
// the instance id twice.
func (e *endpoint) visited() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.visits / 2
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	leaf, _ := strings.CutPrefix(request.URL.Path, "/latest/meta-data/")
	number, isKey := strings.CutSuffix(strings.TrimPrefix(leaf, "public-keys/"), "/openssh-key")
	i, err := strconv.Atoi(number)
	switch {
	case e.down:
		http.Error(w, "not now", http.StatusServiceUnavailable)
	case request.Method != http.MethodGet:
		http.NotFound(w, request) // no tokens
	case leaf == "instance-id":
		e.visits++
		fmt.Fprint(w, e.instance)
	case leaf == "public-keys/" && len(e.lines) > 0:
		for i := range e.lines {
			fmt.Fprintf(w, "%d/\n", i)
		}
	case isKey && err == nil && i < len(e.lines):
		fmt.Fprint(w, e.lines[i])
	default:
		http.NotFound(w, request)
	}
}
