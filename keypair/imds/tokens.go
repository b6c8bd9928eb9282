package imds

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// The hardened mode's words, and its limits.
const (
	tokenPath      = "/latest/api/token"
	tokenTTLHeader = "X-Aliyun-Ecs-Metadata-Token-Ttl-Seconds"
	tokenHeader    = "X-Aliyun-Ecs-Metadata-Token"
	maxTTL         = 21600 // seconds
)

// tokens hands out tokens and knows them again, without keeping any: a token is the moment
// it ends and a MAC over that. So a flood of PUTs costs no memory. Each endpoint has a secret
// of its own, which is what makes one instance's token worth nothing to another.
type tokens struct {
	began  time.Time // ends are counted from here: a clock that is set ends no token
	secret atomic.Pointer[[sha256.Size]byte]
}

// endSize is the length of a token's first part: nanoseconds after began, big-endian.
const endSize = 8

func newTokens() *tokens {
	t := &tokens{began: time.Now()}
	t.forget()
	return t
}

// forget makes every token so far unknown.
func (t *tokens) forget() {
	secret := new([sha256.Size]byte)
	_, _ = rand.Read(secret[:]) // never fails, see crypto/rand
	t.secret.Store(secret)
}

// take hands out a new token.
func (t *tokens) take(life time.Duration) string {
	end := binary.BigEndian.AppendUint64(nil, uint64(time.Since(t.began)+life))
	return base64.RawURLEncoding.EncodeToString(append(end, t.mac(end)...))
}

// good reports whether a token was handed out and has not ended.
func (t *tokens) good(token string) bool {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) != endSize+sha256.Size {
		return false
	}
	end, mac := raw[:endSize], raw[endSize:]
	return hmac.Equal(mac, t.mac(end)) && time.Since(t.began) < time.Duration(binary.BigEndian.Uint64(end))
}

func (t *tokens) mac(end []byte) []byte {
	h := hmac.New(sha256.New, t.secret.Load()[:])
	h.Write(end)
	return h.Sum(nil)
}

// serveToken answers PUT /latest/api/token. A request that came through a proxy is refused,
// so that a proxy open to the world does not hand out the instance's metadata.
func (e *Endpoint) serveToken(w http.ResponseWriter, r *http.Request) {
	seconds, err := strconv.Atoi(r.Header.Get(tokenTTLHeader))
	switch {
	case len(r.Header.Values("X-Forwarded-For")) > 0:
		reply(w, http.StatusForbidden, "Forbidden")
	case r.Method != http.MethodPut:
		w.Header().Set("Allow", http.MethodPut)
		reply(w, http.StatusMethodNotAllowed, "Method Not Allowed")
	case err != nil || seconds < 1 || seconds > maxTTL:
		reply(w, http.StatusBadRequest, invalidParameters)
	default:
		reply(w, http.StatusOK, e.tokens.take(time.Duration(seconds)*time.Second))
	}
}

// tokenStatus says whether a read may go on (200), by its token and by the instance's mode.
func (e *Endpoint) tokenStatus(r *http.Request, required bool) int {
	token := tokenOf(r)
	switch {
	case token != "" && !e.tokens.good(token):
		return http.StatusUnauthorized
	case token == "" && required:
		return http.StatusForbidden
	}
	return http.StatusOK
}

// tokenOf is the token that comes with a request, or empty.
func tokenOf(r *http.Request) string {
	if values := r.Header[tokenHeader]; len(values) > 0 {
		return values[0]
	}
	return ""
}
