package account

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// newRoot writes files below a new root.
func newRoot(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for path, content := range files {
		full := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestLookupReadsPasswdAsGlibcDoes(t *testing.T) {
	alice := Account{Name: "alice", UID: 1000, GID: 1000, Groups: []int{1000}, Home: "/home/alice", Shell: "/bin/bash"}
	bare := Account{Name: "alice", UID: 1, GID: 2, Groups: []int{2}, Shell: "/bin/sh"}
	odd := alice
	odd.Shell = "/bin/bash:extra"
	const line = "alice:x:1000:1000:Alice,,,:/home/alice:/bin/bash\n"
	tests := map[string]struct {
		passwd string
		want   Account
	}{
		"plain":                     {line, alice},
		"without last newline":      {strings.TrimSuffix(line, "\n"), alice},
		"after blanks":              {" \t" + line, alice},
		"among comments":            {"# alice:x:1:1::/:\n\n" + line, alice},
		"first of two":              {line + "alice:x:0:0::/root:/bin/sh\n", alice},
		"after a bad user id":       {"alice:x:one:1::/:\n" + line, alice},
		"after a bad group id":      {"alice:x:1:-1::/:\n" + line, alice},
		"after the id that is none": {"alice:x:4294967295:1::/:\n" + line, alice},
		"after too few fields":      {"alice:x:1000\nalice\nalice:\n" + line, alice},
		"after NIS entries":         {"+alice:x:1:1:::\n-alice:x:1:1:::\n+::::::\n" + line, alice},
		"NUL ends the line":         {"alice:x:1000:1000:Alice,,,:/home/alice:/bin/bash\x00junk\n", alice},
		"colon in the shell":        {"alice:x:1000:1000:Alice,,,:/home/alice:/bin/bash:extra\n", odd},
		"fields missing at the end": {"alice:x:1:2\n", bare},
		"empty shell":               {"alice:x:1:2:::\n", bare},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			root := newRoot(t, map[string]string{"etc/passwd": test.passwd})
			got, err := Lookup(root, "alice")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("account (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLookupCollectsGroupsAsSSHDMatchesThem(t *testing.T) {
	root := newRoot(t, map[string]string{
		"etc/passwd": "alice:x:1000:100::/home/alice:/bin/sh\n",
		"etc/group": "sudo:x:27:bob,alice\n" +
			"users:x:100:\n" +
			"also-users:x:100:alice\n" + // the id again, its first name counts
			"bad:x:z:alice\n" +
			"short:x\n" +
			"adm:x:4: alice\n" +
			"alicelike:x:5:alicex,xalice\n" +
			"sudo2:x:27:alice\n" +
			"empty:x:6:\n",
	})
	got, err := Lookup(root, "alice")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{100, 27, 4}, got.Groups); diff != "" {
		t.Errorf("ids (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"users", "sudo", "adm"}, got.GroupNames); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

func TestUnknownUserErrorSaysWhereItLooked(t *testing.T) {
	root := newRoot(t, map[string]string{"etc/passwd": "alice:x:1:1::/:\n"})
	_, err := Lookup(root, "bob")
	want := "user bob: no such user in " + root + "/etc/passwd"
	if !errors.Is(err, ErrUnknownUser) || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestNamesThatAreNoneAreRefused(t *testing.T) {
	root := newRoot(t, map[string]string{"etc/passwd": "alice:x:1:1::/:\n"})
	for _, name := range []string{
		"", "-alice", ".", "..", "a/b", "../alice", "a:b", "a b", "a\nb", "a\x00b", "a,b", "0", "12", "al$ice", "é",
		strings.Repeat("a", 33), strings.Repeat("a", 1<<20),
	} {
		_, err := Lookup(root, name)
		if !errors.Is(err, ErrInvalidName) {
			t.Errorf("%.40q: %v", name, err)
		}
		if err != nil && len(err.Error()) > 200 {
			t.Errorf("%.40q: the error repeats %d bytes", name, len(err.Error()))
		}
	}
	for _, name := range []string{"a", "root", "ecs-user", "_apt", "First.Last", "host$", strings.Repeat("a", 32)} {
		if !ValidName(name) {
			t.Errorf("%q is refused", name)
		}
	}
}

func TestFilesThatAreNoneAreRefusedAtOnce(t *testing.T) {
	tests := map[string]struct {
		make func(path string) error
		want string
	}{
		"fifo":      {func(path string) error { return syscall.Mkfifo(path, 0o644) }, "not a regular file"},
		"directory": {func(path string) error { return os.Mkdir(path, 0o755) }, "not a regular file"},
		"huge":      {makeSparse(maxFileSize + 1), "larger than 16 MiB"},
		"missing":   {func(string) error { return nil }, "no such file"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			root := newRoot(t, map[string]string{"etc/group": ""})
			if err := test.make(filepath.Join(root, "etc/passwd")); err != nil {
				t.Fatal(err)
			}
			_, err := Lookup(root, "alice")
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), root) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

func makeSparse(size int64) func(string) error {
	return func(path string) error {
		return errors.Join(os.WriteFile(path, nil, 0o644), os.Truncate(path, size))
	}
}

// TestLinksStayBelowTheRoot: in an image, /etc/passwd may be an absolute link,
// which must not lead to the passwd of the machine that looks at it.
func TestLinksStayBelowTheRoot(t *testing.T) {
	for _, target := range []string{"/usr/share/passwd", "../usr/share/passwd", "../../../../../../usr/share/passwd"} {
		root := newRoot(t, map[string]string{"usr/share/passwd": "alice:x:1:1::/:\n", "etc/group": ""})
		if err := os.Symlink(target, filepath.Join(root, "etc/passwd")); err != nil {
			t.Fatal(err)
		}
		if _, err := Lookup(root, "alice"); err != nil {
			t.Errorf("link to %s: %v", target, err)
		}
	}
}

func TestMachineItselfIsRead(t *testing.T) {
	got, err := Lookup("/", "root")
	if err != nil {
		t.Fatal(err)
	}
	if got.UID != 0 || got.Home != "/root" {
		t.Errorf("root is %+v", got)
	}
}

func FuzzLookup(f *testing.F) {
	f.Add("alice:x:1:1::/:\n", "users:x:1:alice\n", "alice:!:0:0:99999:7:::\n")
	f.Add("alice\n", ":::\n", "alice:\n")
	f.Fuzz(func(t *testing.T, passwd, groups, shadow string) {
		root := newRoot(t, map[string]string{"etc/passwd": passwd, "etc/group": groups, "etc/shadow": shadow})
		account, err := Lookup(root, "alice")
		if err != nil {
			return
		}
		if account.Name != "alice" || account.Shell == "" || account.UID < 0 || account.Groups[0] != account.GID {
			t.Errorf("%q gave %+v", passwd, account)
		}
	})
}
