package keypair_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/keypair"
	"github.com/latchkey-ssh/latchkey/keypair/boltstore"
	"github.com/latchkey-ssh/latchkey/keypair/memstore"
)

func TestMain(m *testing.M) {
	if folder := os.Getenv(writerEnv); folder != "" {
		writeForEver(folder)
	}
	goleak.VerifyTestMain(m)
}

// onBothStores runs a test on a region in memory and on one in a file.
func onBothStores(t *testing.T, test func(t *testing.T, r *keypair.Region)) {
	t.Helper()
	stores := map[string]func() keypair.Store{
		"memstore":  func() keypair.Store { return memstore.New() },
		"boltstore": func() keypair.Store { return openFile(t, filepath.Join(t.TempDir(), "region")) },
	}
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			store := open()
			defer store.Close()
			r := openRegion(t, store, keypair.Options{})
			test(t, r)
			r.Close()
			consistent(t, store)
		})
	}
}

func openFile(t *testing.T, folder string) *boltstore.Store {
	t.Helper()
	store, err := openOrCreate(folder)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// openOrCreate opens the folder's store, which it makes where there is none.
func openOrCreate(folder string) (*boltstore.Store, error) {
	store, err := boltstore.Open(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return boltstore.Create(folder)
	}
	return store, err
}

func openRegion(t *testing.T, store keypair.Store, o keypair.Options) *keypair.Region {
	t.Helper()
	r, err := keypair.Open(t.Context(), store, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// inMemory is a region for tests of rules that no store has a part in.
func inMemory(t *testing.T) *keypair.Region {
	t.Helper()
	return openRegion(t, memstore.New(), keypair.Options{})
}

// publicKey is a key that is always the same for a name, as one line.
func publicKey(name string) string {
	seed := sha256.Sum256([]byte(name))
	public, err := ssh.NewPublicKey(ed25519.NewKeyFromSeed(seed[:]).Public())
	if err != nil {
		panic(err) // never, for an ed25519 key
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public)))
}

func importPair(t *testing.T, r *keypair.Region, name string) keypair.KeyPair {
	t.Helper()
	pair, err := r.ImportKeyPair(t.Context(), keypair.NewKeyPair{Name: name}, publicKey(name))
	if err != nil {
		t.Fatalf("import %s: %v", name, err)
	}
	return pair
}

func register(t *testing.T, r *keypair.Region, instances ...keypair.Instance) {
	t.Helper()
	for _, instance := range instances {
		if _, err := r.Register(t.Context(), instance); err != nil {
			t.Fatalf("register %s: %v", instance.ID, err)
		}
	}
}

func attach(t *testing.T, r *keypair.Region, pair string, ids ...string) {
	t.Helper()
	outcomes, err := r.Attach(t.Context(), pair, ids)
	if err != nil {
		t.Fatalf("attach %s: %v", pair, err)
	}
	for _, outcome := range outcomes {
		if outcome.Err != nil {
			t.Fatalf("attach %s to %s: %v", pair, outcome.InstanceID, outcome.Err)
		}
	}
}

// boundTo is the name of the pair that is bound to an instance, "" for none.
func boundTo(t *testing.T, r *keypair.Region, id string) string {
	t.Helper()
	instance, pair, err := r.Bound(t.Context(), id)
	if err != nil {
		t.Fatalf("bound to %s: %v", id, err)
	}
	if pair == nil {
		return ""
	}
	if pair.Name != instance.KeyPairName {
		t.Errorf("%s names %q, and %q is bound", id, instance.KeyPairName, pair.Name)
	}
	return pair.Name
}

func wantErr(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: error %v, want %v", what, got, want)
	}
}

func wantNames(t *testing.T, what string, pairs []keypair.KeyPair, want ...string) {
	t.Helper()
	got := []string{}
	for _, pair := range pairs {
		got = append(got, pair.Name)
	}
	if diff := cmp.Diff(append([]string{}, want...), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// consistent holds the store's indices against its records.
func consistent(t *testing.T, store keypair.Store) {
	t.Helper()
	var pairs, instances, want, got []string
	err := store.View(context.Background(), func(tx keypair.Tx) error {
		return tx.Scan("", func(key string, value []byte) error {
			table, rest, _ := strings.Cut(key, "/")
			switch table {
			case "pair":
				var pair keypair.KeyPair
				pairs = append(pairs, rest)
				return errors.Join(json.Unmarshal(value, &pair), same(key, pair.Name, rest))
			case "instance":
				var instance keypair.Instance
				err := json.Unmarshal(value, &instance)
				instances = append(instances, rest)
				want = append(want, indexed(instance)...)
				return errors.Join(err, same(key, instance.ID, rest))
			case "bound", "address":
				got = append(got, strings.TrimSuffix(key+" "+string(value), " "))
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("indices (-as the records have it +as they are):\n%s", diff)
	}
	for _, key := range got {
		if parts := strings.Split(key, "/"); parts[0] == "bound" && !slices.Contains(pairs, parts[1]) {
			t.Errorf("%s: there is no such key pair", key)
		}
	}
}

// indexed is what there has to be in the indices for an instance.
func indexed(instance keypair.Instance) []string {
	var keys []string
	if instance.KeyPairName != "" {
		keys = append(keys, "bound/"+instance.KeyPairName+"/"+instance.ID)
	}
	for _, address := range instance.Addresses {
		keys = append(keys, "address/"+address.String()+" "+instance.ID)
	}
	return keys
}

func same(key, got, want string) error {
	if got != want {
		return fmt.Errorf("%s: the record is of %q", key, got)
	}
	return nil
}

// linux is an instance that runs Linux and has the n-th address.
func linux(id string, n int) keypair.Instance {
	return keypair.Instance{ID: id, Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)})}}
}

func windows(id string) keypair.Instance { return keypair.Instance{ID: id, OSType: keypair.Windows} }
