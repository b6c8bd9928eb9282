package keypair

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"time"
)

// Errors about access keys.
var (
	ErrAccessKeyNotFound = errors.New("no access key of that id exists")
	ErrNonceUsed         = errors.New("the nonce was used before")
)

// AccessKey is who may call the API. The signatures of ECS are HMACs, which need the secret
// itself: so it is kept as it is, in the store, which nobody else must be able to read.
type AccessKey struct {
	ID        string    `json:"id"` // "LTAI" and 20 letters and digits
	Secret    string    `json:"secret,omitempty"`
	Comment   string    `json:"comment,omitempty"`
	Disabled  bool      `json:"disabled,omitempty"`
	CreatedAt time.Time `json:"created_at"` // UTC
}

var accessKeyID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)

// CreateAccessKey makes an access key. Its secret is shown to its user once.
func (r *Region) CreateAccessKey(ctx context.Context, comment string) (AccessKey, error) {
	if !plainText.MatchString(comment) {
		return AccessKey{}, ErrComment
	}
	key := AccessKey{
		ID: "LTAI" + rand.Text()[:20], Secret: rand.Text() + rand.Text()[:4], Comment: comment, CreatedAt: now(),
	}
	return key, r.store.Update(ctx, func(tx Tx) error { return put(tx, accessKeyPrefix+key.ID, key) })
}

// AccessKey returns the access key of that id.
func (r *Region) AccessKey(ctx context.Context, id string) (AccessKey, error) {
	return view(ctx, r.store, func(tx Tx) (AccessKey, error) { return accessKeyOf(tx, id) })
}

func accessKeyOf(tx Tx, id string) (AccessKey, error) {
	if !accessKeyID.MatchString(id) {
		return AccessKey{}, ErrAccessKeyNotFound
	}
	return get[AccessKey](tx, accessKeyPrefix+id, ErrAccessKeyNotFound)
}

// AccessKeys returns all access keys, without their secrets.
func (r *Region) AccessKeys(ctx context.Context) ([]AccessKey, error) {
	keys, err := view(ctx, r.store, func(tx Tx) ([]AccessKey, error) {
		return list(tx, accessKeyPrefix, func(AccessKey) bool { return true })
	})
	for i := range keys {
		keys[i].Secret = ""
	}
	return keys, err
}

// EnableAccessKey lets an access key call the API, or no longer.
func (r *Region) EnableAccessKey(ctx context.Context, id string, enabled bool) error {
	return r.store.Update(ctx, func(tx Tx) error {
		key, err := accessKeyOf(tx, id)
		if err != nil {
			return err
		}
		key.Disabled = !enabled
		return put(tx, accessKeyPrefix+id, key)
	})
}

// DeleteAccessKey forgets an access key.
func (r *Region) DeleteAccessKey(ctx context.Context, id string) error {
	return r.store.Update(ctx, func(tx Tx) error {
		if _, err := accessKeyOf(tx, id); err != nil {
			return err
		}
		return tx.Delete(accessKeyPrefix + id)
	})
}

// UseNonce remembers, over a restart of the program too, that an access key has used a nonce
// in a request that counts until then, and forgets those whose time is over. The same nonce
// with the same end is ErrNonceUsed: it is the same request again.
func (r *Region) UseNonce(ctx context.Context, accessKey, nonce string, until time.Time) error {
	sum := sha256.Sum256([]byte(accessKey + "/" + nonce))
	key := nonceUntil(until) + hex.EncodeToString(sum[:])
	return r.store.Update(ctx, func(tx Tx) error {
		if err := forgetNonces(tx); err != nil {
			return err
		}
		used, err := exists(tx, key)
		if err == nil && used {
			err = ErrNonceUsed
		}
		if err != nil {
			return err
		}
		return tx.Put(key, []byte{})
	})
}

// nonceUntil is where nonces that end at that time are: in the order of time.
func nonceUntil(end time.Time) string { return fmt.Sprintf("%s%012d/", noncePrefix, end.Unix()) }

func forgetNonces(tx Tx) error {
	var past []string
	err := tx.Scan(noncePrefix, func(key string, _ []byte) error {
		if key >= nonceUntil(time.Now()) {
			return errEnough
		}
		past = append(past, key)
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	for _, key := range past {
		if err := tx.Delete(key); err != nil {
			return err
		}
	}
	return nil
}

var errEnough = errors.New("enough")
