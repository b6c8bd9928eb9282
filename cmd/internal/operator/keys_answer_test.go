package operator

import (
	"strings"
	"testing"
)

func TestTheAdministratorsCommandIsNotRunByCheck(t *testing.T) {
	for words, want := range map[string]string{
		"/h ada 1 /home/ada t k":              "/h ada 1 /home/ada t k",
		"/h ada 1 /home/ada t k -- /opt/keys": "/h ada 1 /home/ada t k",
		"/h ada -- /opt/keys -- more":         "/h ada",
		"/h ada 1 /home/ada t k --":           "/h ada 1 /home/ada t k --", // which the helper refuses
	} {
		if got := strings.Join(withoutChain(strings.Fields(words)), " "); got != want {
			t.Errorf("%q: %q is run, want %q", words, got, want)
		}
	}
}
