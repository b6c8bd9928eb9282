package ecscli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/cmd/internal/cli"
	"github.com/latchkey-ssh/latchkey/keypair/ecsclient"
)

// steering is what no terminal may be sent: ESC and its sequences, the one-byte CSI, DEL, a text that runs backwards,
// marks that nobody sees, and a character beyond the first plane.
const steering = "a\x1b]0;pwned\x07\u009b31m\x7f\u202eb\u2066c\u061cd\u200b\ufeff\U000e0041\r\nlatchkey: done\x9b"

func TestNothingThatIsSaidSteersATerminal(t *testing.T) {
	ctx := context.Background()
	refused := &ecsclient.Error{Action: "CreateKeyPair", Code: steering, Message: steering, RequestID: steering, HTTPStatus: 400}
	lost := &ecsclient.NetworkError{Action: "CreateKeyPair", Host: "h", Sent: true, Err: errors.New(steering)}
	each := func(d *desk, one outcome) error {
		return d.each(ctx, []string{steering}, work{done: "done", batch: 1, do: func(context.Context, []string) ([]outcome, error) {
			one.thing = steering
			return []outcome{one}, nil
		}})
	}
	tests := map[string]func(*desk) error{
		"a refusal":             func(*desk) error { return refused },
		"a lost answer":         func(*desk) error { return lost },
		"another error":         func(*desk) error { return errors.New(steering) },
		"a hint":                func(*desk) error { return &explained{errors.New(steering), steering} },
		"wrong usage":           func(*desk) error { return cli.UsageError{Err: errors.New(steering)} },
		"what is not found":     func(*desk) error { return notFound(steering) },
		"what was bound before": func(d *desk) error { return each(d, attached("web", steering)) },
		"one of many":           func(d *desk) error { return each(d, outcome{err: refused}) },
		"one that got lost":     func(d *desk) error { return each(d, outcome{err: lost}) },
		"a card":                func(d *desk) error { return d.card([][2]string{{"key pair", steering}}) },
		"a list": func(d *desk) error {
			return d.show(listing{value: []string{steering}, names: []string{steering}, header: []string{"NAME"}, rows: [][]string{{steering}}})
		},
		"one made": func(d *desk) error { return d.showMade(made{Name: steering, ID: steering, MD5: steering}) },
		"one shown": func(d *desk) error {
			return d.showOne(showing(ecsclient.KeyPair{Name: steering, PublicKey: steering, Tags: []ecsclient.Tag{{Key: steering, Value: steering}}}))
		},
	}
	for name, say := range tests {
		for _, form := range []format{asTable, asJSON, asNames} {
			t.Run(name+" as "+string(form), func(t *testing.T) {
				var said bytes.Buffer
				d := &desk{format: form, stdout: &said, stderr: &said}
				if err := d.finish(ctx, say(d)); err != nil {
					said.WriteString(err.Error())
				}
				for _, r := range said.String() {
					if r != '\n' && !unicode.IsPrint(r) || unicode.Is(unicode.Bidi_Control, r) {
						t.Errorf("%U in %q", r, said.String())
					}
				}
				if bytes.Contains(said.Bytes(), []byte("\nlatchkey: done")) {
					t.Errorf("a line of its own: %q", said.String())
				}
			})
		}
	}
}

func TestJSONKeepsWhatItEscapes(t *testing.T) {
	texts := []string{"web", "größe ☃ \U0001f511 <&>", "a\x1b\u009b\x7f\u202e\u00a0\U000e0041\n\t\"\\"}
	var said bytes.Buffer
	if err := (&desk{stdout: &said}).printJSON(texts); err != nil {
		t.Fatal(err)
	}
	var got []string
	if err := json.Unmarshal(said.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(texts, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !bytes.Contains(said.Bytes(), []byte("größe ☃ \U0001f511 <&>")) {
		t.Errorf("escaped without need: %s", said.String())
	}
}
