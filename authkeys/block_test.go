package authkeys_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/authkeys"
)

// foreignFiles are files without a managed block, of every kind of line.
func foreignFiles(t testing.TB) map[string]string {
	key := testKey(t, 'f')
	return map[string]string{
		"empty":            "",
		"a key":            key + " me\n",
		"no final newline": key,
		"crlf":             "# mine\r\n" + key + " me\r\n\r\n",
		"blanks":           "\n\n \t\n" + key + "\n\n",
		"bad lines":        "garbage\n\xff\xfe\nfrob " + key + "\ncommand=\"\n" + key + "\nend",
		"comments":         "# BEGIN\n#BEGIN latchkey\n # BEGIN latchkey\n# BEGIN latchkeyd\n" + key + "\n# END\n",
		"only a newline":   "\n",
		"options":          `restrict,command="x" ` + key + "\n",
	}
}

func withManaged(t testing.TB, data string, keys ...string) string {
	t.Helper()
	out, err := authkeys.Parse([]byte(data)).WithManaged(keys)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func managed(data string) []string {
	var keys []string
	for _, entry := range authkeys.Parse([]byte(data)).Managed() {
		keys = append(keys, entry.Fingerprint())
	}
	return keys
}

func fingerprintsOf(t testing.TB, keys ...string) []string {
	t.Helper()
	var names []string
	for _, key := range keys {
		entry, err := authkeys.ParseKey(key)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, entry.Fingerprint())
	}
	return names
}

// Invariant 1.
func TestForeignLinesComeThroughByteForByte(t *testing.T) {
	one, two := testKey(t, '1')+" one", testKey(t, '2')+" two"
	for name, foreign := range foreignFiles(t) {
		t.Run(name, func(t *testing.T) {
			bound := withManaged(t, foreign, one)
			if !strings.HasSuffix(bound, foreign) {
				t.Errorf("bound: %q", bound)
			}
			rebound := withManaged(t, bound, two, one)
			if !strings.HasSuffix(rebound, foreign) {
				t.Errorf("bound anew: %q", rebound)
			}
			if diff := cmp.Diff(fingerprintsOf(t, two, one), managed(rebound)); diff != "" {
				t.Error(diff)
			}
			if again := withManaged(t, rebound, two, one); again != rebound {
				t.Errorf("a second time: %q", again)
			}
			if unbound := withManaged(t, rebound); unbound != foreign {
				t.Errorf("unbound: %q", unbound)
			}
		})
	}
}

func TestBlockIsThreeLinesAtTheTop(t *testing.T) {
	key := testKey(t, '1')
	name := fingerprintsOf(t, key)[0]
	want := "# BEGIN latchkey " + name + " - kept by latchkeyd, edit elsewhere\n" +
		key + " a comment\n" +
		"# END latchkey " + name + "\n" +
		"mine"
	if diff := cmp.Diff(want, withManaged(t, "mine", key+" a comment\n", key+" the same")); diff != "" {
		t.Error(diff)
	}
}

func TestBlockStaysWhereItStands(t *testing.T) {
	one, two := testKey(t, '1'), testKey(t, '2')
	got := withManaged(t, "before\n"+withManaged(t, "", one)+"after", two)
	if want := "before\n" + withManaged(t, "", two) + "after"; got != want {
		t.Error(cmp.Diff(want, got))
	}
}

func TestDamagedBlockSwallowsNoUsersLine(t *testing.T) {
	one, two, user := testKey(t, '1')+"\n", testKey(t, '2')+"\n", testKey(t, 'u')+" user\n"
	block := withManaged(t, "", one, two)
	lines := strings.SplitAfter(block, "\n")
	begin, end := lines[0], lines[3]
	tests := []struct{ name, file, unbound string }{
		{"intact", "a\n" + block + "b\n", "a\nb\n"},
		{"end missing", "a\n" + begin + one + two + user + "b\n", "a\n" + user + "b\n"},
		{"end missing, a user's line after the first key", begin + one + user + two, user + two},
		{"begin missing", "a\n" + user + one + two + end + "b\n", "a\n" + user + "b\n"},
		{"begin missing, a user's line before the last key", one + user + two + end, one + user},
		{"user's key inside", begin + one + user + two + end, user},
		{"user's comment and bad line inside", begin + "# mine\n" + one + "bad\n" + two + end, "# mine\nbad\n"},
		{"key gone", begin + one + end + user, user},
		{"keys gone", begin + end + user, user},
		{"begin alone", begin + user, user},
		{"end alone", user + end, user},
		{"end alone, no newline", user + strings.TrimSuffix(end, "\n"), user},
		{"no fingerprint in the markers", "# BEGIN latchkey\n" + one + "# END latchkey\n", one},
		{"no fingerprint in one marker", "# BEGIN latchkey\n" + one + end, ""},
		{"crlf", strings.ReplaceAll(block, "\n", "\r\n") + user, user},
		{"two blocks", block + user + block + "b\n", user + "b\n"},
		{"begin twice", begin + begin + one + two + end + user, user},
		{"begin, a user's line, a block", begin + user + block, user},
		{"end twice", block + user + end, user},
		{"our key with options inside", begin + "no-pty " + one + two + end, ""},
		{"our key outside", one + block + two, one + two},
		{"last line without newline inside", begin + one + "user", "user"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.unbound, withManaged(t, test.file)); diff != "" {
				t.Errorf("unbound: %s", diff)
			}
			bound := withManaged(t, test.file, two)
			if strings.Count(bound, "# BEGIN latchkey") != 1 || withManaged(t, bound) != test.unbound {
				t.Errorf("bound: %s", bound)
			}
			if again := withManaged(t, bound, two); again != bound {
				t.Errorf("bound twice: %s", cmp.Diff(bound, again))
			}
		})
	}
}

// Invariant 8.
func TestOnlyOnePlainKeyIsManaged(t *testing.T) {
	key := testKey(t, '1')
	for _, bad := range []string{
		"", "\n", "garbage", "# " + key, "no-pty " + key, `command="x" ` + key,
		key + "\n" + key, key + " a\n\n", key + " a\rb", key + " a\x00b", key + " \x1b[2J", key + " \xff",
		key + " a\u0085b", "ssh-rsa " + strings.Fields(key)[1],
	} {
		if out, err := authkeys.Parse(nil).WithManaged([]string{bad}); err == nil {
			t.Errorf("%q was taken: %q", bad, out)
		} else if strings.Contains(err.Error(), strings.Fields(key)[1]) {
			t.Errorf("%q: the error holds the key", bad)
		}
	}
	for _, good := range []string{key, key + "\n", key + "\r\n", "  " + key + "\tme  "} {
		out := withManaged(t, "", good)
		if got := len(authkeys.Parse([]byte(out)).Keys()); got != 1 || strings.Count(out, "\n") != 3 {
			t.Errorf("%q: %q", good, out)
		}
	}
}

func TestBinaryFileIsNotEdited(t *testing.T) {
	_, err := authkeys.Parse([]byte("a\nb\nc\x00\n")).WithManaged(nil)
	if binary, ok := errors.AsType[*authkeys.BinaryError](err); !ok || binary.Line != 3 {
		t.Errorf("got %v", err)
	}
}

// FuzzRenderParse holds whatever the bytes are.
func FuzzRenderParse(f *testing.F) {
	key := testKey(f, 'k')
	for _, foreign := range foreignFiles(f) {
		f.Add([]byte(foreign))
		f.Add([]byte(withManaged(f, foreign, key)))
	}
	for _, test := range lineCases(key) {
		if len(test.line) < 1000 {
			f.Add([]byte(test.line))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if got := authkeys.Parse(data).Bytes(); !bytes.Equal(got, data) {
			t.Errorf("%q became %q", data, got)
		}
	})
}

// FuzzParse edits whatever parses: unbinding gives back what was there before
// binding, and binding is done at the first go.
func FuzzParse(f *testing.F) {
	key := testKey(f, 'k')
	for _, foreign := range foreignFiles(f) {
		f.Add([]byte(foreign))
		f.Add([]byte(withManaged(f, foreign, key)))
		f.Add([]byte(withManaged(f, foreign, key)[20:]))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		unbound, err := authkeys.Parse(data).WithManaged(nil)
		if _, ok := errors.AsType[*authkeys.BinaryError](err); ok {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(data, []byte(" latchkey")) && !bytes.Equal(unbound, data) {
			t.Errorf("no block, and %q became %q", data, unbound)
		}
		bound := withManaged(t, string(data), key)
		if diff := cmp.Diff(fingerprintsOf(t, key), managed(bound)); diff != "" {
			t.Errorf("%q: %s", bound, diff)
		}
		if again := withManaged(t, bound, key); again != bound {
			t.Errorf("%q became %q", bound, again)
		}
		if got := withManaged(t, bound); got != string(unbound) {
			t.Errorf("unbound %q, want %q", got, unbound)
		}
	})
}
