package account

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestUIDsAreThoseOfLookup: of the first sound line of each name.
func TestUIDsAreThoseOfLookup(t *testing.T) {
	root := newRoot(t, map[string]string{
		"etc/passwd": "root:x:0:0::/root:/bin/sh\n# ada:x:1:1::/:\n+nis\nada:x:no:1::/:\nada:x:1001:1001::/:\nada:x:1002:1002::/:\nbob:x:1003\n\n",
	})
	got, err := UIDs(root)
	if diff := cmp.Diff(map[string]int{"root": 0, "ada": 1001}, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	for name, uid := range got {
		if account, err := Lookup(root, name); err != nil || account.UID != uid {
			t.Errorf("%s is %d, and to Lookup %d, %v", name, uid, account.UID, err)
		}
	}
	if _, err := UIDs(t.TempDir()); err == nil {
		t.Error("without a passwd file")
	}
}
