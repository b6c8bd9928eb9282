package authkeys_test

import (
	"strings"
	"testing"
)

func TestTheBlockComesBeforeAForeignLineWithTheSameKey(t *testing.T) {
	key := testKey(t, '1')
	foreign := "command=\"/bin/false\" " + key + "\n"
	bound := foreign + withManaged(t, "", key)
	if got := withManaged(t, bound, key); !strings.HasPrefix(got, "# BEGIN latchkey") || !strings.HasSuffix(got, foreign) {
		t.Errorf("got\n%s\nwant the block first, and the foreign line after it", got)
	}
}

func TestALineWithOptionsInADamagedBlockIsTheUsers(t *testing.T) {
	key := testKey(t, '1')
	own := "from=\"127.0.0.1\" " + key + " my own line\n"
	bound := withManaged(t, "", key)
	damaged := bound[:strings.Index(bound, "# END")] + own
	for _, keys := range [][]string{{key}, nil, {testKey(t, '2')}} {
		if got := withManaged(t, damaged, keys...); !strings.Contains(got, own) {
			t.Errorf("with %d keys got\n%s\nwithout the user's line", len(keys), got)
		}
	}
}
