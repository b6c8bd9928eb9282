package keypair_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/keypair"
)

// manyTags are n tags whose keys begin so.
func manyTags(prefix string, n int) []keypair.Tag {
	var tags []keypair.Tag
	for i := range n {
		tags = append(tags, keypair.Tag{Key: fmt.Sprintf("%s%02d", prefix, i)})
	}
	return tags
}

func tagsOf(t *testing.T, r *keypair.Region, name string) []keypair.Tag {
	t.Helper()
	pair, err := r.KeyPair(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return pair.Tags
}

func TestTagsKeepToTheirRules(t *testing.T) {
	long := strings.Repeat("标", 128)
	cases := map[string]struct {
		tags []keypair.Tag
		want error
	}{
		"none":               {nil, nil},
		"without a value":    {[]keypair.Tag{{Key: "a"}}, nil},
		"the longest":        {[]keypair.Tag{{Key: long, Value: long}}, nil},
		"as many as may be":  {manyTags("k", 20), nil},
		"one too many":       {manyTags("k", 21), keypair.ErrTagQuota},
		"the same key twice": {[]keypair.Tag{{Key: "a", Value: "1"}, {Key: "b"}, {Key: "a", Value: "2"}}, keypair.ErrTagTwice},
		"no key":             {[]keypair.Tag{{Value: "1"}}, keypair.ErrTagKey},
		"a long key":         {[]keypair.Tag{{Key: long + "x"}}, keypair.ErrTagKey},
		"a key of aliyun's":  {[]keypair.Tag{{Key: "Aliyun-x"}}, keypair.ErrTagKey},
		"a key acs:":         {[]keypair.Tag{{Key: "ACS:x"}}, keypair.ErrTagKey},
		"a key with a URL":   {[]keypair.Tag{{Key: "see http://x"}}, keypair.ErrTagKey},
		"a key of bad UTF-8": {[]keypair.Tag{{Key: "\xff"}}, keypair.ErrTagKey},
		"a long value":       {[]keypair.Tag{{Key: "a", Value: long + "x"}}, keypair.ErrTagValue},
		"a value acs:":       {[]keypair.Tag{{Key: "a", Value: "acs:x"}}, keypair.ErrTagValue},
		"a value with a URL": {[]keypair.Tag{{Key: "a", Value: "https://x"}}, keypair.ErrTagValue},
		"a value of aliyun":  {[]keypair.Tag{{Key: "a", Value: "aliyun"}}, nil},
	}
	r := inMemory(t)
	importPair(t, r, "there")
	for name, test := range cases {
		_, err := r.ImportKeyPair(t.Context(), keypair.NewKeyPair{Name: "mine", Tags: test.tags}, publicKey("mine"))
		wantErr(t, "import with "+name, err, test.want)
		_ = r.DeleteKeyPairs(t.Context(), []string{"mine"}) // where it was made
		wantErr(t, "tag with "+name, r.TagKeyPairs(t.Context(), []string{"there"}, test.tags), test.want)
		wantErr(t, "untag", r.UntagKeyPairs(t.Context(), []string{"there"}, nil), nil)
	}
}

func TestTaggingAddsAndReplaces(t *testing.T) {
	onBothStores(t, func(t *testing.T, r *keypair.Region) {
		pair := importPair(t, r, "mine")
		wantErr(t, "by name", r.TagKeyPairs(t.Context(), []string{"mine"}, []keypair.Tag{{Key: "b", Value: "1"}, {Key: "c", Value: "1"}}), nil)
		wantErr(t, "by id", r.TagKeyPairs(t.Context(), []string{pair.ID, "mine"}, []keypair.Tag{{Key: "a"}, {Key: "b", Value: "2"}}), nil)
		want := []keypair.Tag{{Key: "a"}, {Key: "b", Value: "2"}, {Key: "c", Value: "1"}}
		if diff := cmp.Diff(want, tagsOf(t, r, "mine")); diff != "" {
			t.Errorf("tags (-want +got):\n%s", diff)
		}
		wantErr(t, "untag", r.UntagKeyPairs(t.Context(), []string{"mine"}, []string{"a", "c", "absent"}), nil)
		if diff := cmp.Diff(want[1:2], tagsOf(t, r, "mine")); diff != "" {
			t.Errorf("tags (-want +got):\n%s", diff)
		}
		wantErr(t, "untag all", r.UntagKeyPairs(t.Context(), []string{"mine"}, nil), nil)
		if tags := tagsOf(t, r, "mine"); len(tags) != 0 {
			t.Errorf("tags %v stay", tags)
		}
	})
}

func TestTaggingIsAllOrNothing(t *testing.T) {
	onBothStores(t, func(t *testing.T, r *keypair.Region) {
		importPair(t, r, "empty")
		importPair(t, r, "full")
		wantErr(t, "fill", r.TagKeyPairs(t.Context(), []string{"full"}, manyTags("k", 20)), nil)
		more := []keypair.Tag{{Key: "more"}}
		wantErr(t, "one is full", r.TagKeyPairs(t.Context(), []string{"empty", "full"}, more), keypair.ErrTagQuota)
		wantErr(t, "one is not there", r.TagKeyPairs(t.Context(), []string{"empty", "nobody"}, more), keypair.ErrPairNotFound)
		wantErr(t, "untag, one is not there", r.UntagKeyPairs(t.Context(), []string{"full", "nobody"}, nil), keypair.ErrPairNotFound)
		if got := len(tagsOf(t, r, "empty")); got != 0 {
			t.Errorf("%d tags on the empty one", got)
		}
		wantErr(t, "replace on the full one", r.TagKeyPairs(t.Context(), []string{"full"}, manyTags("k", 3)), nil)
		if got := len(tagsOf(t, r, "full")); got != 20 {
			t.Errorf("%d tags on the full one", got)
		}
	})
}
