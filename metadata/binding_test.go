package metadata

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func mustKey(t testing.TB, line string) Key {
	t.Helper()
	key, err := ParseKey(line)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestABindingThatNobodyFilledInIsNotBelieved(t *testing.T) {
	if err := (Binding{}).Validate(); err == nil {
		t.Error("the zero binding is valid")
	}
}

func TestValidateHoldsTheReceiverToWhatFetchPromises(t *testing.T) {
	key, other := mustKey(t, edLine), mustKey(t, edLine2)
	bound := Binding{State: Bound, InstanceID: "i-1", Keys: []Key{key}}
	const certType = "ssh-ed25519-cert-v01@openssh.com"
	certificate := Key{Type: certType, Blob: certificates(map[string][]byte{key.Type: key.Blob})[certType]}
	unbound := Binding{State: Unbound, InstanceID: "i-1"}
	unknown := Binding{State: Unknown, Reason: "no answer in time"}
	with := func(b Binding, edit func(*Binding)) Binding {
		b.Keys = slices.Clone(b.Keys)
		edit(&b)
		return b
	}
	tests := map[string]struct {
		binding Binding
		want    string // "" for valid
	}{
		"bound":                    {bound, ""},
		"bound to two":             {with(bound, func(b *Binding) { b.Keys = append(b.Keys, other) }), ""},
		"named":                    {with(bound, func(b *Binding) { b.Keys[0].Name, b.User = "a,b", "ecs-user" }), ""},
		"unbound":                  {unbound, ""},
		"unknown":                  {unknown, ""},
		"other state":              {Binding{State: "open", InstanceID: "i-1"}, "none of bound"},
		"bound to none":            {with(bound, func(b *Binding) { b.Keys = nil }), "bound to 0 keys"},
		"bound to many":            {with(bound, func(b *Binding) { b.Keys = make([]Key, 17) }), "bound to 17 keys"},
		"bound twice":              {with(bound, func(b *Binding) { b.Keys = append(b.Keys, key) }), "same key twice"},
		"bound nowhere":            {with(bound, func(b *Binding) { b.InstanceID = "" }), "instance id"},
		"bound with reason":        {with(bound, func(b *Binding) { b.Reason = "x" }), "a reason"},
		"second line in a comment": {with(bound, func(b *Binding) { b.Keys[0].Comment = "x\n" + edLine2 }), "more than one line"},
		"options in the type":      {with(bound, func(b *Binding) { b.Keys[0].Type = `no-pty ssh-ed25519` }), "key type"},
		"comment not as on a line": {with(bound, func(b *Binding) { b.Keys[0].Comment = " x" }), "not those of its line"},
		"type of another":          {with(bound, func(b *Binding) { b.Keys[0].Type = "ssh-rsa" }), "stated type"},
		"certificate":              {with(bound, func(b *Binding) { b.Keys[0] = certificate }), ""},
		"certificate cut":          {with(bound, func(b *Binding) { b.Keys[0] = certificate; b.Keys[0].Blob = certificate.Blob[:60] }), "malformed"},
		"blob cut":                 {with(bound, func(b *Binding) { b.Keys[0].Blob = b.Keys[0].Blob[:40] }), "malformed"},
		"name of a path":           {with(bound, func(b *Binding) { b.Keys[0].Name = "../x" }), "name"},
		"user with options":        {with(bound, func(b *Binding) { b.User = "-oProxyCommand=x" }), "user name"},
		"user of two lines":        {with(bound, func(b *Binding) { b.User = "root\nx" }), "user name"},
		"an ETag":                  {with(bound, func(b *Binding) { b.ETag = "0123456789abcdef" }), ""},
		"ETag of two lines":        {with(bound, func(b *Binding) { b.ETag = "a\nb" }), "not an ETag"},
		"ETag too long":            {with(unbound, func(b *Binding) { b.ETag = strings.Repeat("x", maxETag+1) }), "not an ETag"},
		"unknown with an ETag":     {with(unknown, func(b *Binding) { b.ETag = "x" }), "claims something"},
		"unbound with a key":       {with(unbound, func(b *Binding) { b.Keys = []Key{key} }), "yet it has keys"},
		"unbound nowhere":          {with(unbound, func(b *Binding) { b.InstanceID = "ok" }), "instance id"},
		"unknown with a key":       {with(unknown, func(b *Binding) { b.Keys = []Key{key} }), "claims something"},
		"unknown without reason":   {with(unknown, func(b *Binding) { b.Reason = "" }), "reason"},
		"unknown, reason of lines": {with(unknown, func(b *Binding) { b.Reason = "x\ny" }), "reason"},
		"unknown, reason too long": {with(unknown, func(b *Binding) { b.Reason = strings.Repeat("x", 1025) }), "reason"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := test.binding.Validate()
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestSameLooksAtStateUserAndKeysAlone(t *testing.T) {
	a, b := mustKey(t, edLine), mustKey(t, edLine2)
	renamed := a
	renamed.Comment, renamed.Name = "other", "pair"
	bound := func(user string, keys ...Key) Binding { return Binding{State: Bound, User: user, Keys: keys} }
	tests := map[string]struct {
		x, y Binding
		want bool
	}{
		"order":           {bound("", a, b), bound("", b, a), true},
		"comment":         {bound("", a), bound("", renamed), true},
		"time and reason": {Binding{State: Unknown, Reason: "x", At: time.Unix(1, 0)}, Binding{State: Unknown}, true},
		"ETag":            {Binding{State: Unbound, ETag: "x"}, Binding{State: Unbound}, true},
		"state":           {Binding{State: Unknown}, Binding{State: Unbound}, false},
		"user":            {bound("", a), bound("root", a), false},
		"another key":     {bound("", a), bound("", b), false},
		"a key more":      {bound("", a), bound("", a, b), false},
		"a double":        {bound("", a, a), bound("", a, b), false},
	}
	for name, test := range tests {
		if test.x.Same(test.y) != test.want || test.y.Same(test.x) != test.want {
			t.Errorf("%s: want %v", name, test.want)
		}
	}
}

func TestABindingCrossesAPipeAsJSON(t *testing.T) {
	key := mustKey(t, edLine)
	key.Name = "pair"
	want := Binding{State: Bound, InstanceID: "i-1", User: "root", Keys: []Key{key}, At: time.Now().UTC(), ETag: "x"}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Binding
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if err := got.Validate(); err != nil {
		t.Error(err)
	}
}

func TestReasonsAreShownAsTheyAreOnOneLine(t *testing.T) {
	long := Binding{State: Unknown, Reason: reason(errorText("x\n\x1b[2J" + strings.Repeat("密", 2000) + "\xff"))}
	if err := long.Validate(); err != nil {
		t.Error(err)
	}
}

type errorText string

func (e errorText) Error() string { return string(e) }
