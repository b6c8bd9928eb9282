package authkeys_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/latchkey-ssh/latchkey/authkeys"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

func TestFileOutsideTheHomeNeedsFoldersOfRootAlone(t *testing.T) {
	testmachine.RequireRoot(t)
	tests := []struct {
		name string
		lay  func(etc string)
		want string // empty: it works
	}{
		{"sound", func(string) {}, ""},
		{"file there already", func(etc string) { must(t, os.WriteFile(etc+"/ssh/keys/somebody", []byte("mine\n"), 0o644)) }, ""},
		{"folder of a user", func(etc string) { must(t, os.Chown(etc+"/ssh/keys", 54321, 0)) }, "folder /etc/ssh/keys belongs to uid 54321"},
		{"folder above of a user", func(etc string) { must(t, os.Chown(etc, 54321, 0)) }, "folder /etc belongs"},
		{"writable by a group", func(etc string) { must(t, os.Chmod(etc+"/ssh", 0o775)) }, "folder /etc/ssh can be written"},
		{"sticky", func(etc string) { must(t, os.Chmod(etc+"/ssh", 0o1777)) }, "folder /etc/ssh can be written"},
		{"missing", func(etc string) { must(t, os.Remove(etc+"/ssh/keys")) }, "folder /etc/ssh/keys: no such file"},
		{"link to a user's folder", func(etc string) {
			theirs := filepath.Join(filepath.Dir(etc), "theirs")
			must(t, errors.Join(os.Remove(etc+"/ssh/keys"), os.Mkdir(theirs, 0o755), os.Chown(theirs, 54321, 0), os.Symlink("/theirs", etc+"/ssh/keys")))
		}, "folder /theirs belongs"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			must(t, os.MkdirAll(root+"/etc/ssh/keys", 0o755))
			test.lay(root + "/etc")
			account := authkeys.Account{Root: root, User: "somebody", Home: "/home/somebody", UID: 54321, GID: 54321}
			location, err := authkeys.Locate([]string{"/etc/ssh/keys/%u"}, account)
			must(t, err)
			_, err = authkeys.Edit(t.Context(), location, bindTo(testKey(t, '1')))
			switch {
			case test.want == "" && err != nil, test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Fatalf("got %v, want %q", err, test.want)
			case test.want == "":
				wantFile(t, root+"/etc/ssh/keys/somebody", regular, 0o644, 0)
			}
		})
	}
}
