package authkeys

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTheTextOfOptionsIsThatOfTheLine(t *testing.T) {
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
	tests := map[string]string{
		key:                                      "",
		"\t" + key + " a":                        "",
		"restrict,pty " + key + " no-pty " + key: "restrict,pty",
		`command="echo ssh-ed25519 \"x\"",,NO-pty  ` + key: `command="echo ssh-ed25519 \"x\"",,NO-pty`,
		"# restrict " + key: "",
		"frobnicate " + key: "",
		"":                  "",
	}
	for line, want := range tests {
		got := ""
		for _, parsed := range Parse([]byte(line + "\r\n")).Lines {
			got += parsed.OptionsText()
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", line, diff)
		}
	}
}
