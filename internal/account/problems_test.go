package account

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const healthy = "alice:x:1000:1000::/home/alice:/bin/sh\n"

func TestProblemsNamesEachCause(t *testing.T) {
	tests := map[string]struct {
		files map[string]string // beside a shell and a home that are fine
		want  []Cause
	}{
		"healthy":            {nil, nil},
		"expired":            {map[string]string{"etc/shadow": "alice:h:1:::::9:\n"}, []Cause{AccountExpired}},
		"must change":        {map[string]string{"etc/shadow": "alice:h:0::::::\n"}, []Cause{PasswordMustChange}},
		"lapsed":             {map[string]string{"etc/shadow": "alice:h:1::2::3::\n"}, []Cause{PasswordLapsed}},
		"locked is not":      {map[string]string{"etc/shadow": "alice:!:1::::::\n"}, nil},
		"no shell":           {map[string]string{"etc/passwd": "alice:x:1:1::/home/alice:/bin/zsh\n"}, []Cause{ShellMissing}},
		"shell below a file": {map[string]string{"etc/passwd": "alice:x:1:1::/home/alice:/bin/sh/sh\n"}, []Cause{ShellMissing}},
		"shell is a folder":  {map[string]string{"etc/passwd": "alice:x:1:1::/home/alice:/bin\n"}, []Cause{ShellNotExecutable}},
		"nologin":            {map[string]string{"etc/passwd": "alice:x:1:1::/home/alice:/sbin/nologin\n"}, []Cause{ShellRefuses}},
		"false":              {map[string]string{"etc/passwd": "alice:x:1:1::/home/alice:/bin/false\n"}, []Cause{ShellRefuses}},
		"/etc/nologin":       {map[string]string{"etc/nologin": ""}, []Cause{NologinFile}},
		"/run/nologin":       {map[string]string{"run/nologin": ""}, []Cause{NologinFile}},
		"nologin, root":      {map[string]string{"etc/nologin": "", "etc/passwd": "alice:x:0:0::/home/alice:/bin/sh\n"}, nil},
		"no home":            {map[string]string{"etc/passwd": "alice:x:1:1::/home/bob:/bin/sh\n"}, []Cause{HomeMissing}},
		"home is a file":     {map[string]string{"etc/passwd": "alice:x:1:1::/bin/sh:/bin/sh\n"}, []Cause{HomeMissing}},
		"home is nothing":    {map[string]string{"etc/passwd": "alice:x:1:1:::/bin/sh\n"}, []Cause{HomeMissing}},
		"several": {
			map[string]string{"etc/nologin": "", "etc/shadow": "alice:h:0:::::9:\n"},
			[]Cause{AccountExpired, PasswordMustChange, NologinFile},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			root := newRoot(t, map[string]string{
				"etc/passwd": healthy, "etc/shadow": "alice:h:20000::::::\n",
				"bin/sh": "", "bin/false": "", "sbin/nologin": "", "home/alice/x": "",
			})
			overwrite(t, root, test.files)
			account, err := Lookup(root, "alice")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, causes(account.Problems(root, noon))); diff != "" {
				t.Errorf("causes (-want +got):\n%s", diff)
			}
		})
	}
}

func overwrite(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for path, content := range files {
		full := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func causes(problems []Problem) []Cause {
	var all []Cause
	for _, p := range problems {
		all = append(all, p.Cause)
	}
	return all
}

func TestShellWithoutExecuteBitIsAProblem(t *testing.T) {
	root := newRoot(t, map[string]string{"bin/sh": "", "home/alice/x": ""})
	if err := os.Chmod(filepath.Join(root, "bin/sh"), 0o644); err != nil {
		t.Fatal(err)
	}
	account := Account{Name: "alice", UID: 1, Home: "/home/alice", Shell: "/bin/sh"}
	if diff := cmp.Diff([]Cause{ShellNotExecutable}, causes(account.Problems(root, noon))); diff != "" {
		t.Errorf("causes (-want +got):\n%s", diff)
	}
}

func TestRemedyIsOneShellWordPerArgument(t *testing.T) {
	for _, home := range []string{"/home/alice", "/home/a b", "/home/$(touch x)", `/home/it's`, "/home/\"`;&|"} {
		out, err := exec.Command("sh", "-c", "printf %s "+quote(home)).Output()
		if err != nil || string(out) != home {
			t.Errorf("%q became %q (%v)", home, out, err)
		}
	}
}
