package ecsapi

import (
	"crypto/sha256"
	"sync"
	"time"
)

// maxNonces is how many an API keeps in a generation, in about 10 MB.
const maxNonces = 1 << 18

// nonces remembers which nonce an access key has used, at least as long as the request it was in
// counts: that is two windows, when its clock was one ahead. They are kept in generations, of which the oldest
// is forgotten as a whole.
//
// A generation that is full is closed before its time. So a flood makes old nonces be forgotten
// early, but opens nothing that matters: those of requests that change something are in the store too.
type nonces struct {
	most int // in a generation

	mu          sync.Mutex
	began       time.Time               // of the youngest generation
	generations [3]map[nonceID]struct{} // the youngest first
}

// nonceID is a hash: a nonce may be long.
type nonceID [16]byte

// use tells whether a nonce is new, and remembers it.
func (n *nonces) use(accessKey, nonce string, now time.Time) bool {
	sum := sha256.Sum256([]byte(accessKey + "/" + nonce))
	id := nonceID(sum[:16])
	n.mu.Lock()
	defer n.mu.Unlock()
	n.age(now)
	for _, generation := range n.generations {
		if _, used := generation[id]; used {
			return false
		}
	}
	n.generations[0][id] = struct{}{}
	return true
}

// age begins a new generation when the youngest is a window old, or full.
func (n *nonces) age(now time.Time) {
	passed := int(now.Sub(n.began) / window)
	if passed <= 0 && len(n.generations[0]) >= n.most {
		passed = 1
	}
	for range min(passed, len(n.generations)) {
		n.generations = [3]map[nonceID]struct{}{{}, n.generations[0], n.generations[1]}
		n.began = now
	}
}
