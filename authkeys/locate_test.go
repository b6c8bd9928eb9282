package authkeys_test

import (
	"errors"
	"testing"

	"github.com/latchkey-ssh/latchkey/authkeys"
)

func TestLocateExpandsAndChooses(t *testing.T) {
	account := authkeys.Account{Root: "/", User: "ann", Home: "/home/ann", UID: 1000}
	tests := []struct {
		name     string
		patterns []string
		want     string
	}{
		{"default", []string{".ssh/authorized_keys", ".ssh/authorized_keys2"}, "/home/ann/.ssh/authorized_keys"},
		{"tokens", []string{"%h/%%/%u-%U"}, "/home/ann/%/ann-1000"},
		{"outside", []string{"/etc/ssh/keys/%u"}, "/etc/ssh/keys/ann"},
		{"below the home first", []string{"/etc/ssh/keys/%u", "keys"}, "/home/ann/keys"},
		{"home of a longer name", []string{"/home/anna/%u/keys", "/etc/keys"}, "/home/anna/ann/keys"},
		{"one of the user's own after a shared one", []string{"/etc/keys", "/etc/ssh/keys/%u"}, "/etc/ssh/keys/ann"},
		{"dots", []string{"../bob/keys"}, "/home/bob/keys"},
		{"none among others", []string{"none", "keys"}, "/home/ann/keys"},
	}
	for _, test := range tests {
		got, err := authkeys.Locate(test.patterns, account)
		if err != nil || got.Path != test.want {
			t.Errorf("%s: %q, %v; want %q", test.name, got.Path, err, test.want)
		}
	}
}

func TestAFileOfAllUsersIsNotAKeysFileOfOne(t *testing.T) {
	for _, pattern := range []string{"/etc/ssh/all_keys", "/etc/ssh/100%%"} {
		if got, err := authkeys.Locate([]string{pattern}, authkeys.Account{Home: "/h"}); !errors.Is(err, authkeys.ErrShared) {
			t.Errorf("%s: %+v, %v; want %v", pattern, got, err, authkeys.ErrShared)
		}
	}
}

func TestLocateRefusesWhatSSHDDoes(t *testing.T) {
	for _, pattern := range []string{"%k", "keys/%", "%"} {
		if got, err := authkeys.Locate([]string{pattern}, authkeys.Account{Home: "/h"}); err == nil {
			t.Errorf("%q: %+v", pattern, got)
		}
	}
	for _, patterns := range [][]string{{"none"}, {"None"}, nil} {
		if _, err := authkeys.Locate(patterns, authkeys.Account{Home: "/h"}); !errors.Is(err, authkeys.ErrNoKeysFile) {
			t.Errorf("%q: %v", patterns, err)
		}
	}
}
