package sshd

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestWhateverAServerSaysItsAnswerCanBeShown: text of the other end goes into
// logs and onto terminals.
func TestWhateverAServerSaysItsAnswerCanBeShown(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a := Answer{
			Key:     rapid.SampledFrom([]Verdict{Unknown, Refused}).Draw(t, "key"),
			Methods: rapid.SliceOf(rapid.String()).Draw(t, "methods"),
			Version: rapid.String().Draw(t, "version"),
			Reason:  rapid.String().Draw(t, "reason"),
			HostKey: rapid.SliceOf(rapid.Byte()).Draw(t, "host key"),
		}
		if err := a.cleaned().Validate(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestAnAnswerThatNoConversationComesToIsRefused(t *testing.T) {
	t.Parallel()
	sound := Answer{Key: Accepted, Methods: []string{"publickey"}, Version: "SSH-2.0-OpenSSH_9.2p1", HostKey: []byte("host")}
	if err := sound.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Answer){
		"no verdict":                   func(a *Answer) { a.Key = "" },
		"another verdict":              func(a *Answer) { a.Key = "yes" },
		"accepted by nobody":           func(a *Answer) { a.HostKey = nil },
		"accepted without the method":  func(a *Answer) { a.Methods = []string{"password"} },
		"a method without a name":      func(a *Answer) { a.Methods = append(a.Methods, "") },
		"a method with a control code": func(a *Answer) { a.Methods = append(a.Methods, "a\x1b") },
		"too many methods":             func(a *Answer) { a.Methods = strings.Split(strings.Repeat("publickey,", 40), ",") },
		"a version of two lines":       func(a *Answer) { a.Version += "\n" },
		"an endless reason":            func(a *Answer) { a.Reason = strings.Repeat("x", maxReason+1) },
		"an endless host key":          func(a *Answer) { a.HostKey = make([]byte, maxHostKey+1) },
	} {
		answer := sound
		spoil(&answer)
		if answer.Validate() == nil {
			t.Errorf("%s: %+v passes", name, answer)
		}
	}
}
