package keypair_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/latchkey-ssh/latchkey/keypair"
	"github.com/latchkey-ssh/latchkey/keypair/memstore"
)

func TestANameIs2To128CharactersWithALetterFirst(t *testing.T) {
	r := inMemory(t)
	good := []string{
		"ab", "a1", "Ab", "a.b_c-d:e", "密钥对", "éa", "http:", "https", "a..", "x-http:--",
		strings.Repeat("a", 128), strings.Repeat("钥", 128), strings.Repeat("\U00020000", 128),
	}
	for _, name := range good {
		if pair := importPair(t, r, name); pair.Name != name {
			t.Errorf("%q became %q", name, pair.Name)
		}
	}
	bad := []string{
		"", "a", "1a", ".a", "_a", "-a", ":a", " ab", "ab ", "a b", "a/b", "a\nb", "a\x00", "a*", "a\xff", "a,b", "a🔑",
		"http://ab", "https://ab", strings.Repeat("a", 129), strings.Repeat("钥", 129),
	}
	for _, name := range bad {
		_, err := r.ImportKeyPair(t.Context(), keypair.NewKeyPair{Name: name}, publicKey("any"))
		wantErr(t, fmt.Sprintf("import %.20q", name), err, keypair.ErrName)
		_, _, err = r.CreateKeyPair(t.Context(), keypair.NewKeyPair{Name: name}, "")
		wantErr(t, fmt.Sprintf("create %.20q", name), err, keypair.ErrName)
		_, err = r.KeyPair(t.Context(), name)
		wantErr(t, fmt.Sprintf("look up %.20q", name), err, keypair.ErrPairNotFound)
	}
}

func TestTheLongestNameIsBoundAndDeletedToo(t *testing.T) {
	onBothStores(t, func(t *testing.T, r *keypair.Region) {
		name, id := strings.Repeat("\U00020000", 128), "i-"+strings.Repeat("a", 62)
		importPair(t, r, name)
		register(t, r, linux(id, 1))
		attach(t, r, name, id)
		if got := boundTo(t, r, id); got != name {
			t.Errorf("bound is %.20q", got)
		}
		wantErr(t, "remove", r.Remove(t.Context(), id), nil)
		wantErr(t, "delete", r.DeleteKeyPairs(t.Context(), []string{name}), nil)
	})
}

func TestAnImportedPairIsAsItWasGiven(t *testing.T) {
	onBothStores(t, func(t *testing.T, r *keypair.Region) {
		wantErr(t, "group", r.AddResourceGroup(t.Context(), keypair.ResourceGroup{ID: "rg-1", Name: "one"}), nil)
		given := keypair.NewKeyPair{
			Name: "mine", ResourceGroupID: "rg-1",
			Tags: []keypair.Tag{{Key: "b", Value: "2"}, {Key: "a"}},
		}
		made, err := r.ImportKeyPair(t.Context(), given, publicKey("mine")+" me@home\n")
		if err != nil {
			t.Fatal(err)
		}
		want := keypair.KeyPair{
			Name: "mine", ResourceGroupID: "rg-1", PublicKey: publicKey("mine") + " me@home",
			Tags: []keypair.Tag{{Key: "a"}, {Key: "b", Value: "2"}},
		}
		rest := cmpopts.IgnoreFields(keypair.KeyPair{}, "ID", "CreatedAt", "MD5", "SHA256")
		if diff := cmp.Diff(want, made, rest); diff != "" {
			t.Errorf("made (-want +got):\n%s", diff)
		}
		if age := time.Since(made.CreatedAt); age < 0 || age > time.Minute || made.CreatedAt.Location() != time.UTC {
			t.Errorf("made at %s", made.CreatedAt)
		}
		stored, err := r.KeyPair(t.Context(), "mine")
		if diff := cmp.Diff(made, stored); diff != "" || err != nil {
			t.Errorf("stored (-made +stored, %v):\n%s", err, diff)
		}
	})
}

// TestThePrivateKeyIsInNoStore looks for it in every value there is.
func TestThePrivateKeyIsInNoStore(t *testing.T) {
	store := memstore.New()
	r := openRegion(t, store, keypair.Options{})
	_, private, err := r.CreateKeyPair(t.Context(), keypair.NewKeyPair{Name: "mine"}, keypair.Ed25519)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(private, []byte("\n"))
	err = store.View(t.Context(), func(tx keypair.Tx) error {
		return tx.Scan("", func(key string, value []byte) error {
			if bytes.Contains(value, []byte("PRIVATE")) || bytes.Contains(value, lines[len(lines)/2]) {
				t.Errorf("%s holds the private key", key)
			}
			return nil
		})
	})
	if err != nil || len(private) < 200 {
		t.Errorf("%d bytes of private key, %v", len(private), err)
	}
}

func TestThe501stPairIsRefused(t *testing.T) {
	onBothStores(t, func(t *testing.T, r *keypair.Region) {
		for i := range keypair.MaxKeyPairs {
			importPair(t, r, fmt.Sprint("pair-", i))
		}
		more := keypair.NewKeyPair{Name: "one-more"}
		_, err := r.ImportKeyPair(t.Context(), more, publicKey("more"))
		wantErr(t, "import", err, keypair.ErrPairQuota)
		_, _, err = r.CreateKeyPair(t.Context(), more, "")
		wantErr(t, "create", err, keypair.ErrPairQuota)
		_, err = r.ImportKeyPair(t.Context(), keypair.NewKeyPair{Name: "pair-7"}, publicKey("more"))
		wantErr(t, "import a name that exists", err, keypair.ErrPairExists)
		wantErr(t, "delete", r.DeleteKeyPairs(t.Context(), []string{"pair-7"}), nil)
		importPair(t, r, "one-more")
	})
}

func TestANameIsThereOnce(t *testing.T) {
	onBothStores(t, func(t *testing.T, r *keypair.Region) {
		first := importPair(t, r, "mine")
		_, err := r.ImportKeyPair(t.Context(), keypair.NewKeyPair{Name: "mine"}, publicKey("other"))
		wantErr(t, "import", err, keypair.ErrPairExists)
		_, private, err := r.CreateKeyPair(t.Context(), keypair.NewKeyPair{Name: "mine"}, "")
		wantErr(t, "create", err, keypair.ErrPairExists)
		if private != nil {
			t.Error("a private key came with the refusal")
		}
		importPair(t, r, "Mine") // another name
		stored, err := r.KeyPair(t.Context(), "mine")
		if diff := cmp.Diff(first, stored); diff != "" || err != nil {
			t.Errorf("the first one has changed (%v):\n%s", err, diff)
		}
	})
}

func TestOneKeyMayHaveSeveralNames(t *testing.T) {
	r := inMemory(t)
	for _, name := range []string{"one", "two"} {
		if _, err := r.ImportKeyPair(t.Context(), keypair.NewKeyPair{Name: name}, publicKey("same")); err != nil {
			t.Error(err)
		}
	}
}

func TestANameThatWasDeletedIsFree(t *testing.T) {
	onBothStores(t, func(t *testing.T, r *keypair.Region) {
		first := importPair(t, r, "mine")
		wantErr(t, "delete", r.DeleteKeyPairs(t.Context(), []string{"mine"}), nil)
		_, err := r.KeyPair(t.Context(), "mine")
		wantErr(t, "look up", err, keypair.ErrPairNotFound)
		if second := importPair(t, r, "mine"); second.ID == first.ID {
			t.Error("the new pair has the old one's id")
		}
	})
}

func TestAResourceGroupHasToBeThere(t *testing.T) {
	r := inMemory(t)
	for _, id := range []string{"rg-1", "rg-", "1", "rg-1/../2", "group/rg-1"} {
		_, err := r.ImportKeyPair(t.Context(), keypair.NewKeyPair{Name: "mine", ResourceGroupID: id}, publicKey("mine"))
		wantErr(t, "import into "+id, err, keypair.ErrResourceGroupNotFound)
	}
	for _, id := range []string{"", "1", "rg-", "rg-a_b", "rg-" + strings.Repeat("a", 61)} {
		err := r.AddResourceGroup(t.Context(), keypair.ResourceGroup{ID: id})
		wantErr(t, fmt.Sprintf("add group %q", id), err, keypair.ErrResourceGroup)
	}
	wantErr(t, "add", r.AddResourceGroup(t.Context(), keypair.ResourceGroup{ID: "rg-2", Name: "two"}), nil)
	wantErr(t, "add", r.AddResourceGroup(t.Context(), keypair.ResourceGroup{ID: "rg-1"}), nil)
	wantErr(t, "name anew", r.AddResourceGroup(t.Context(), keypair.ResourceGroup{ID: "rg-1", Name: "one"}), nil)
	groups, err := r.ResourceGroups(t.Context())
	want := []keypair.ResourceGroup{{ID: "rg-1", Name: "one"}, {ID: "rg-2", Name: "two"}}
	if diff := cmp.Diff(want, groups); diff != "" || err != nil {
		t.Errorf("groups (-want +got, %v):\n%s", err, diff)
	}
}

func TestFiltersChoosePairs(t *testing.T) {
	r := inMemory(t)
	wantErr(t, "group", r.AddResourceGroup(t.Context(), keypair.ResourceGroup{ID: "rg-1"}), nil)
	web := importPair(t, r, "web-1")
	importPair(t, r, "web-2")
	_, err := r.ImportKeyPair(t.Context(), keypair.NewKeyPair{
		Name: "db-web-3", ResourceGroupID: "rg-1", Tags: []keypair.Tag{{Key: "env", Value: "prod"}, {Key: "team"}},
	}, publicKey("db"))
	wantErr(t, "import", err, nil)
	tag := func(pairs ...string) (tags []keypair.Tag) {
		for _, pair := range pairs {
			key, value, _ := strings.Cut(pair, "=")
			tags = append(tags, keypair.Tag{Key: key, Value: value})
		}
		return tags
	}
	all := []string{"db-web-3", "web-1", "web-2"} // made within the same second or not
	cases := map[string]struct {
		filter keypair.PairFilter
		want   []string
	}{
		"all":                {keypair.PairFilter{}, all},
		"a star":             {keypair.PairFilter{Name: "*"}, all},
		"two stars":          {keypair.PairFilter{Name: "**"}, all},
		"one name":           {keypair.PairFilter{Name: "web-1"}, all[1:2]},
		"part of a name":     {keypair.PairFilter{Name: "web"}, nil},
		"beginning":          {keypair.PairFilter{Name: "web*"}, all[1:]},
		"end":                {keypair.PairFilter{Name: "*-3"}, all[:1]},
		"middle":             {keypair.PairFilter{Name: "*web*"}, all},
		"a star within":      {keypair.PairFilter{Name: "we*1"}, nil},
		"md5":                {keypair.PairFilter{Fingerprint: web.MD5}, all[1:2]},
		"sha256":             {keypair.PairFilter{Fingerprint: web.SHA256}, all[1:2]},
		"another's":          {keypair.PairFilter{Fingerprint: "SHA256:" + strings.Repeat("A", 43)}, nil},
		"name, fingerprint":  {keypair.PairFilter{Name: "web-2", Fingerprint: web.MD5}, nil},
		"group":              {keypair.PairFilter{ResourceGroupID: "rg-1"}, all[:1]},
		"tag":                {keypair.PairFilter{Tags: tag("env=prod")}, all[:1]},
		"tag, another value": {keypair.PairFilter{Tags: tag("env=test")}, nil},
		"tag, any value":     {keypair.PairFilter{Tags: tag("env")}, all[:1]},
		"all tags":           {keypair.PairFilter{Tags: tag("env=prod", "team")}, all[:1]},
		"not all tags":       {keypair.PairFilter{Tags: tag("env=prod", "owner")}, nil},
	}
	for name, test := range cases {
		pairs, err := r.KeyPairs(t.Context(), test.filter)
		wantErr(t, name, err, nil)
		got := []string{}
		for _, pair := range pairs {
			got = append(got, pair.Name)
		}
		sorted := cmpopts.SortSlices(func(a, b string) bool { return a < b })
		if diff := cmp.Diff(append([]string{}, test.want...), got, sorted); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestPairsComeInTheOrderTheyWereMade(t *testing.T) {
	inABubble(t, func(t *testing.T, r *keypair.Region) {
		for _, name := range []string{"cc", "bb", "aa"} {
			importPair(t, r, name)
			time.Sleep(time.Second) // the bubble's clock
		}
		pairs, err := r.KeyPairs(t.Context(), keypair.PairFilter{})
		wantErr(t, "list", err, nil)
		wantNames(t, "pairs", pairs, "cc", "bb", "aa")
	})
}

func TestDeleteIsAllOrNothing(t *testing.T) {
	onBothStores(t, func(t *testing.T, r *keypair.Region) {
		for _, name := range []string{"aa", "bb", "bound"} {
			importPair(t, r, name)
		}
		register(t, r, linux("i-1", 1))
		attach(t, r, "bound", "i-1")
		wantErr(t, "delete with a bound one", r.DeleteKeyPairs(t.Context(), []string{"aa", "bound", "bb"}), keypair.ErrPairBound)
		wantErr(t, "delete with an unknown one", r.DeleteKeyPairs(t.Context(), []string{"aa", "nobody", "bb"}), keypair.ErrPairNotFound)
		for _, name := range []string{"aa", "bb", "bound"} {
			_, err := r.KeyPair(t.Context(), name)
			wantErr(t, name, err, nil)
		}
		wantErr(t, "delete, one of them twice", r.DeleteKeyPairs(t.Context(), []string{"aa", "bb", "aa"}), nil)
		pairs, err := r.KeyPairs(t.Context(), keypair.PairFilter{})
		wantErr(t, "list", err, nil)
		wantNames(t, "pairs", pairs, "bound")
	})
}

// TestAPairIsDeletableOnceNoInstanceHasIt: neither a name that begins like it nor an instance that was
// removed keeps it.
func TestAPairIsDeletableOnceNoInstanceHasIt(t *testing.T) {
	onBothStores(t, func(t *testing.T, r *keypair.Region) {
		for _, name := range []string{"web", "web-1", "web:1", "other"} {
			importPair(t, r, name)
		}
		register(t, r, linux("i-1", 1), linux("i-2", 2), linux("i-3", 3), linux("i-4", 4))
		attach(t, r, "web-1", "i-4")
		attach(t, r, "web", "i-1", "i-2", "i-3")
		refused := func(when string) {
			wantErr(t, when, r.DeleteKeyPairs(t.Context(), []string{"web"}), keypair.ErrPairBound)
		}
		refused("bound to three")
		_, err := r.Detach(t.Context(), "web", []string{"i-1"})
		wantErr(t, "detach", err, nil)
		refused("bound to two")
		wantErr(t, "remove", r.Remove(t.Context(), "i-2"), nil)
		refused("bound to one")
		attach(t, r, "other", "i-3")
		wantErr(t, "delete", r.DeleteKeyPairs(t.Context(), []string{"web", "web:1"}), nil)
	})
}
