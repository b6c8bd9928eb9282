package imds

import (
	"crypto/rand"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// The hardened mode's words, and its limits.
const (
	tokenPath      = "/latest/api/token"
	tokenTTLHeader = "X-Aliyun-Ecs-Metadata-Token-Ttl-Seconds"
	tokenHeader    = "X-Aliyun-Ecs-Metadata-Token"
	maxTTL         = 21600 // seconds
	maxTokens      = 4096  // beyond it the oldest are forgotten early
)

// tokens are those handed out, each with its end.
type tokens struct {
	mu    sync.Mutex
	ends  map[string]time.Time
	order []string // oldest first
}

// take hands out a new token.
func (t *tokens) take(life time.Duration) string {
	token := rand.Text() + rand.Text()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ends == nil {
		t.ends = map[string]time.Time{}
	}
	if len(t.order) == maxTokens {
		delete(t.ends, t.order[0])
		t.order = t.order[1:]
	}
	t.ends[token] = time.Now().Add(life)
	t.order = append(t.order, token)
	return token
}

// good reports whether a token was handed out and has not ended.
func (t *tokens) good(token string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return time.Now().Before(t.ends[token])
}

func (t *tokens) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ends, t.order = nil, nil
}

// serveToken answers PUT /latest/api/token. A request that came through a proxy is refused,
// so that a proxy open to the world does not hand out the instance's metadata.
func (e *Endpoint) serveToken(w http.ResponseWriter, r *http.Request) {
	seconds, err := strconv.Atoi(r.Header.Get(tokenTTLHeader))
	switch {
	case r.Method != http.MethodPut:
		w.Header().Set("Allow", http.MethodPut)
		reply(w, http.StatusMethodNotAllowed, "Method Not Allowed")
	case len(r.Header.Values("X-Forwarded-For")) > 0:
		reply(w, http.StatusForbidden, "Forbidden")
	case err != nil || seconds < 1 || seconds > maxTTL:
		reply(w, http.StatusBadRequest, "Missing or Invalid Parameters")
	default:
		reply(w, http.StatusOK, e.tokens.take(time.Duration(seconds)*time.Second))
	}
}

// tokenStatus says whether a read may go on (200), by its token and by the instance's mode.
func (e *Endpoint) tokenStatus(r *http.Request, required bool) int {
	token := r.Header.Get(tokenHeader)
	switch {
	case token != "" && !e.tokens.good(token):
		return http.StatusUnauthorized
	case token == "" && required:
		return http.StatusForbidden
	}
	return http.StatusOK
}
