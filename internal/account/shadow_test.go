package account

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// noon is on day 20000 of shadow(5).
var noon = time.Date(2024, time.October, 4, 12, 0, 0, 0, time.UTC)

type shadowFacts struct {
	Locked, HasPassword, Expired, MustChange, Lapsed bool
}

func TestShadowIsReadAsPAMReadsIt(t *testing.T) {
	tests := map[string]struct {
		fields string // after the name
		want   shadowFacts
	}{
		"plain":                      {"$y$j9T$hash:19000:0:99999:7:::", shadowFacts{HasPassword: true}},
		"locked keeps its password":  {"!$y$j9T$hash:19000::::::", shadowFacts{Locked: true}},
		"locked without password":    {"!:19000::::::", shadowFacts{Locked: true}},
		"star is not locked":         {"*:19000::::::", shadowFacts{}},
		"empty password":             {":19000::::::", shadowFacts{}},
		"expires tomorrow":           {"h:19000:::::20001:", shadowFacts{HasPassword: true}},
		"expires today":              {"h:19000:::::20000:", shadowFacts{HasPassword: true, Expired: true}},
		"expired long ago":           {"h:19000:::::1:", shadowFacts{HasPassword: true, Expired: true}},
		"change asked for":           {"h:0::::::", shadowFacts{HasPassword: true, MustChange: true}},
		"change asked for, no limit": {"h:0:0:99999:7:0::", shadowFacts{HasPassword: true, MustChange: true}},
		"oldest age reached":         {"h:19990::10::::", shadowFacts{HasPassword: true}},
		"oldest age passed":          {"h:19989::10::::", shadowFacts{HasPassword: true, MustChange: true}},
		"in the days of grace":       {"h:19985::10::5::", shadowFacts{HasPassword: true, MustChange: true}},
		"after the days of grace":    {"h:19984::10::5::", shadowFacts{HasPassword: true, MustChange: true, Lapsed: true}},
		"no days of grace":           {"h:19989::10::0::", shadowFacts{HasPassword: true, MustChange: true, Lapsed: true}},
		"changed in the future":      {"h:20009::0::0::", shadowFacts{HasPassword: true}},
		"date unknown":               {"h:::10::0::", shadowFacts{HasPassword: true}},
		"fields missing":             {"h", shadowFacts{HasPassword: true}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			shadow := lookup(t, "alice:"+test.fields+"\n").Shadow
			got := shadowFacts{
				shadow.Locked, shadow.HasPassword,
				shadow.Expired(noon), shadow.MustChange(noon), shadow.Lapsed(noon),
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("facts (-want +got):\n%s", diff)
			}
		})
	}
}

func lookup(t *testing.T, shadow string) Account {
	t.Helper()
	account, err := Lookup(newRoot(t, map[string]string{
		"etc/passwd": "alice:x:1000:1000::/home/alice:/bin/sh\n",
		"etc/shadow": shadow,
	}), "alice")
	if err != nil {
		t.Fatal(err)
	}
	return account
}

func TestBadShadowLinesAreSkipped(t *testing.T) {
	got := lookup(t, "alice\n#alice:!\nalice:!:x::::::\nalicex:!::::::\nalice:h:::::::\n").Shadow
	if got == nil || got.Locked {
		t.Errorf("shadow is %+v", got)
	}
	if got := lookup(t, "bob:!:::::::\n").Shadow; got != nil {
		t.Errorf("without a line of its own shadow is %+v", got)
	}
}

func TestPasswordFieldOfPasswdCounts(t *testing.T) {
	root := newRoot(t, map[string]string{"etc/passwd": "alice:!old:1:1::/:\n", "etc/shadow": "alice:h:0::::::\n"})
	account, err := Lookup(root, "alice")
	if err != nil {
		t.Fatal(err)
	}
	if s := account.Shadow; s == nil || !s.Locked || s.MustChange(noon) {
		t.Errorf("shadow is %+v", s)
	}
}

func TestExpiresTellsTheDay(t *testing.T) {
	date, ok := lookup(t, "alice:h:1:::::20000:\n").Shadow.Expires()
	if want := noon.Truncate(24 * time.Hour); !ok || !date.Equal(want) {
		t.Errorf("expires %v, %t, want %v", date, ok, want)
	}
	if date, ok := lookup(t, "alice:h:1::::::\n").Shadow.Expires(); ok {
		t.Errorf("expires %v without a date", date)
	}
}

func TestNoValueHoldsThePasswordHash(t *testing.T) {
	const hash = "$6$salt$secrethash"
	account := lookup(t, "alice:"+hash+":1::::::\n")
	if shown := fmt.Sprintf("%+v %+v %#v", account, *account.Shadow, *account.Shadow); strings.Contains(shown, "hash") {
		t.Errorf("hash is in %s", shown)
	}
}
