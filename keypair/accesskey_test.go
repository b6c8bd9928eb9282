package keypair_test

import (
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/keypair"
	"github.com/latchkey-ssh/latchkey/keypair/memstore"
)

func createAccessKey(t *testing.T, r *keypair.Region, comment string) keypair.AccessKey {
	t.Helper()
	key, err := r.CreateAccessKey(t.Context(), comment)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestAListOfAccessKeysHasNoSecrets(t *testing.T) {
	onBothStores(t, func(t *testing.T, r *keypair.Region) {
		one, two := createAccessKey(t, r, "one"), createAccessKey(t, r, "")
		if one.ID == two.ID || one.Secret == two.Secret {
			t.Error("two access keys are alike")
		}
		if !regexp.MustCompile(`^LTAI[A-Z0-9]{20}$`).MatchString(one.ID) || len(one.Secret) < 30 {
			t.Errorf("id %q with a secret of %d characters", one.ID, len(one.Secret))
		}
		got, err := r.AccessKey(t.Context(), one.ID)
		if diff := cmp.Diff(one, got); diff != "" || err != nil {
			t.Errorf("stored (-made +stored, %v):\n%s", err, diff)
		}
		listed, err := r.AccessKeys(t.Context())
		if err != nil || len(listed) != 2 {
			t.Errorf("%d keys are listed (%v)", len(listed), err)
		}
		for _, key := range listed {
			if key.Secret != "" {
				t.Errorf("%s is listed with its secret", key.ID)
			}
		}
	})
}

func TestAnAccessKeyIsDisabledEnabledAndDeleted(t *testing.T) {
	onBothStores(t, func(t *testing.T, r *keypair.Region) {
		key := createAccessKey(t, r, "mine")
		for _, enabled := range []bool{false, false, true} {
			wantErr(t, "enable", r.EnableAccessKey(t.Context(), key.ID, enabled), nil)
			got, err := r.AccessKey(t.Context(), key.ID)
			if err != nil || got.Disabled == enabled || got.Secret != key.Secret {
				t.Errorf("enabled %t: disabled is %t, the secret the same: %t (%v)", enabled, got.Disabled, got.Secret == key.Secret, err)
			}
		}
		wantErr(t, "delete", r.DeleteAccessKey(t.Context(), key.ID), nil)
		for _, id := range []string{key.ID, "", "a/b", "../pair/mine"} {
			_, err := r.AccessKey(t.Context(), id)
			wantErr(t, "look up", err, keypair.ErrAccessKeyNotFound)
			wantErr(t, "enable", r.EnableAccessKey(t.Context(), id, true), keypair.ErrAccessKeyNotFound)
			wantErr(t, "delete", r.DeleteAccessKey(t.Context(), id), keypair.ErrAccessKeyNotFound)
		}
	})
}

func TestACommentIsOneLine(t *testing.T) {
	r := inMemory(t)
	for _, comment := range []string{"a\nb", "a\x00", strings.Repeat("a", 257)} {
		if _, err := r.CreateAccessKey(t.Context(), comment); err == nil {
			t.Errorf("%.20q was taken", comment)
		}
	}
}

// TestADamagedAccessKeyIsNotQuoted: the error may be logged.
func TestADamagedAccessKeyIsNotQuoted(t *testing.T) {
	store := memstore.New()
	r := openRegion(t, store, keypair.Options{})
	key := createAccessKey(t, r, "mine")
	damage := func(tx keypair.Tx) error {
		return tx.Put("accesskey/"+key.ID, []byte(`{"secret":"`+key.Secret+`",`))
	}
	wantErr(t, "damage", store.Update(t.Context(), damage), nil)
	_, err := r.AccessKey(t.Context(), key.ID)
	if err == nil || strings.Contains(err.Error(), key.Secret) || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("error %v, want one that says it is damaged, and nothing of the secret", err)
	}
}

func TestANonceIsGoodOnce(t *testing.T) {
	onBothStores(t, func(t *testing.T, r *keypair.Region) {
		until := time.Now().Add(15 * time.Minute)
		use := func(key, nonce string) error { return r.UseNonce(t.Context(), key, nonce, until) }
		wantErr(t, "the first time", use("one", "nonce"), nil)
		wantErr(t, "the second time", use("one", "nonce"), keypair.ErrNonceUsed)
		wantErr(t, "another nonce", use("one", "nonce2"), nil)
		wantErr(t, "of another access key", use("two", "nonce"), nil)
		wantErr(t, "a long one", use("one", strings.Repeat("\xff\x00/", 10_000)), nil)
	})
}

func TestANonceThatIsUsedManyTimesAtOnceIsGoodOnce(t *testing.T) {
	onBothStores(t, func(t *testing.T, r *keypair.Region) {
		until := time.Now().Add(time.Minute)
		var good atomic.Int32
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if r.UseNonce(t.Context(), "key", "nonce", until) == nil {
					good.Add(1)
				}
			})
		}
		all.Wait()
		if good.Load() != 1 {
			t.Errorf("it was good %d times", good.Load())
		}
	})
}

func TestANonceIsRememberedOverARestart(t *testing.T) {
	folder, until := filepath.Join(t.TempDir(), "region"), time.Now().Add(15*time.Minute)
	for _, want := range []error{nil, keypair.ErrNonceUsed} {
		store := openFile(t, folder)
		r := openRegion(t, store, keypair.Options{})
		wantErr(t, "use", r.UseNonce(t.Context(), "key", "nonce", until), want)
		r.Close()
		wantErr(t, "close", store.Close(), nil)
	}
}

func TestANonceIsForgottenWhenItsTimeIsOver(t *testing.T) {
	inABubble(t, func(t *testing.T, r *keypair.Region) {
		until := time.Now().Add(15 * time.Minute)
		wantErr(t, "use", r.UseNonce(t.Context(), "key", "nonce", until), nil)
		time.Sleep(15 * time.Minute) // the bubble's clock
		wantErr(t, "use at the end", r.UseNonce(t.Context(), "key", "nonce", until), keypair.ErrNonceUsed)
		time.Sleep(time.Second)
		wantErr(t, "use after the end", r.UseNonce(t.Context(), "key", "nonce", until), nil)
	})
}
