package agent

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/authkeys"
	"github.com/latchkey-ssh/latchkey/internal/account"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
	"github.com/latchkey-ssh/latchkey/metadata"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// situation is what a plan is made from: files in a folder, and a memory. It is
// made by hand, so that no sshd has a say.
type situation struct {
	t     *testing.T
	root  string
	state State
	spoil error // why the keys cannot be reached
}

const planBoot = "boot-1"

// newSituation has the binding in force and nothing applied yet.
func newSituation(t *testing.T, force metadata.Binding) *situation {
	t.Helper()
	s := &situation{t: t, root: t.TempDir(), state: State{InForce: &force, BootID: planBoot}}
	s.write(mainFile, "Include /etc/ssh/sshd_config.d/*.conf\n")
	if err := os.MkdirAll(filepath.Join(s.root, filepath.Dir(dropIn)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(s.root, filepath.Dir(keysFile)), 0o700); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *situation) write(name, text string) {
	s.t.Helper()
	if err := os.MkdirAll(filepath.Join(s.root, filepath.Dir(name)), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.root, name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *situation) world() *World {
	s.t.Helper()
	user := account.Account{Name: testUser, UID: os.Getuid(), GID: os.Getgid(), Home: "/home/" + testUser}
	w := &World{Boot: planBoot, Account: user, Foreign: "as it was", NoKeys: s.spoil}
	w.Location = authkeys.Location{Path: keysFile, Account: authkeys.Account{
		Root: s.root, User: user.Name, UID: user.UID, GID: user.GID, Home: user.Home,
	}}
	store, err := lookAtFile(s.t.Context(), w.Location)
	if err != nil {
		s.t.Fatal(err)
	}
	w.Stores = []keysStore{store}
	if w.Files, err = sshd.New(sshd.Daemon{Root: s.root}).ReadFiles(); err != nil {
		s.t.Fatal(err)
	}
	return w
}

// applied brings files and memory to where a good pass leaves them.
func (s *situation) applied() {
	s.t.Helper()
	config := DefaultConfig()
	p, err := plan(&config, s.state, s.world(), How{})
	if err != nil {
		s.t.Fatal(err)
	}
	s.write(keysFile, string(p.world.Stores[0].diff(p.Final).After))
	if p.Files.DropIn != nil {
		s.write(dropIn, string(p.Files.DropIn))
	}
	place := KeysPlace{testUser, keysFile}
	s.state.Applied = &Applied{
		Binding: p.Binding, User: place.User, BootID: planBoot, World: "as it was",
		PasswordClosed: p.Policy.Closed, KeysFile: place.KeysFile,
	}
	s.state.Proven = &Proven{KeysPlace: place, BootID: planBoot}
	for _, key := range p.Binding.Keys {
		s.state.Proven.Fingerprints = append(s.state.Proven.Fingerprints, key.Fingerprint())
	}
}

// wantSteps makes the plan and compares its steps.
func (s *situation) wantSteps(how How, want ...Verb) *Plan {
	s.t.Helper()
	config := DefaultConfig()
	p, err := plan(&config, s.state, s.world(), how)
	if err != nil {
		s.t.Fatal(err)
	}
	var got []Verb
	for _, step := range p.Steps {
		got = append(got, step.Verb)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		s.t.Errorf("steps (-want +got):\n%s", diff)
	}
	return p
}

func TestThePlanForABoundKey(t *testing.T) {
	t.Parallel()
	key := bound(t, testmachine.NewKey(t, "ed25519"))
	tests := []struct {
		name   string
		change func(s *situation)
		how    How
		want   []Verb
		steady bool
	}{
		{"all as it was left", func(*situation) {}, How{}, nil, true},
		{"asked for by a person, all well", func(*situation) {}, How{Now: true}, nil, false},
		{
			"never applied", func(s *situation) {
				s.state = State{InForce: &key}
				s.write(keysFile, "")
				noError(t, os.Remove(filepath.Join(s.root, dropIn)))
			},
			How{},
			[]Verb{WriteKeys, Prove, ClosePassword, Reload, AskListener, Record},
			false,
		},
		{"the memory is lost", func(s *situation) { s.state = State{InForce: &key} }, How{}, []Verb{Prove, Reload, AskListener, Record}, false},
		{"another boot", func(s *situation) { s.state.Applied.BootID = "boot-0" }, How{}, []Verb{Prove, AskListener, Record}, false},
		{"the block is gone", func(s *situation) { s.write(keysFile, "") }, How{}, []Verb{WriteKeys, Prove, AskListener, Record}, true},
		{
			"the drop-in is gone", func(s *situation) { noError(t, os.Remove(filepath.Join(s.root, dropIn))) },
			How{},
			[]Verb{Prove, ClosePassword, Reload, AskListener, Record},
			false,
		},
		{"what is not ours has changed", func(s *situation) { s.state.Applied.World = "other" }, How{}, []Verb{Prove, AskListener, Record}, true},
		{"cut off", func(s *situation) { s.state.Unfinished = true }, How{}, []Verb{Prove, Reload, AskListener, Record}, false},
		{"a fault, and nothing new", func(s *situation) { s.state.Applied.Faults = []sshd.Cause{{ID: "x"}} }, How{}, nil, true},
		{
			"a fault, and time to try again", func(s *situation) { s.state.Applied.Faults = []sshd.Cause{{ID: "x"}} },
			How{Retry: true},
			[]Verb{Prove, AskListener, Record},
			true,
		},
		{
			"a fault, and asked for by a person", func(s *situation) { s.state.Applied.Faults = []sshd.Cause{{ID: "x"}} },
			How{Now: true},
			[]Verb{Prove, AskListener, Record},
			false,
		},
		{
			"proved in another boot only", func(s *situation) { s.state.Proven.BootID, s.state.Applied.World = "boot-0", "other" },
			How{},
			[]Verb{Prove, AskListener, Record},
			false,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newSituation(t, key)
			s.applied()
			test.change(s)
			s.t = t
			if p := s.wantSteps(test.how, test.want...); p.Steady != test.steady {
				t.Errorf("steady: %v, want %v", p.Steady, test.steady)
			}
		})
	}
}

func TestThePlanForAnUnboundInstance(t *testing.T) {
	t.Parallel()
	s := newSituation(t, bound(t, testmachine.NewKey(t, "ed25519")))
	s.applied()
	s.state.InForce = new(metadata.Binding)
	*s.state.InForce = unbound()
	s.wantSteps(How{}, OpenPassword, Reload, RemoveKeys, Record)

	s.spoil = errors.New("spoilt")
	s.wantSteps(How{}, OpenPassword, Reload, Record)

	never := newSituation(t, unbound())
	never.wantSteps(How{}, Record)
	never.applied()
	never.wantSteps(How{})
}

func TestWithoutTheKeysFileABoundKeyHasNoPlan(t *testing.T) {
	t.Parallel()
	s := newSituation(t, bound(t, testmachine.NewKey(t, "ed25519")))
	s.spoil = errors.New("spoilt")
	config := DefaultConfig()
	if _, err := plan(&config, s.state, s.world(), How{}); !errors.Is(err, s.spoil) {
		t.Errorf("plan: %v, want why the keys cannot be reached", err)
	}
}

func TestTheBlockHoldsProvedKeysUntilOthersAre(t *testing.T) {
	t.Parallel()
	first, second, strange := bound(t, testmachine.NewKey(t, "ed25519")), bound(t, testmachine.NewKey(t, "ed25519")), bound(t, testmachine.NewKey(t, "ed25519"))
	s := newSituation(t, first)
	s.applied()
	block, err := authkeys.Parse(nil).WithManaged([]string{first.Keys[0].Line(), strange.Keys[0].Line()})
	if err != nil {
		t.Fatal(err)
	}
	s.write(keysFile, string(block)) // whoever put the strange key there, it was never proved
	s.state.InForce = &second
	p := s.wantSteps(How{}, WriteKeys, Prove, AskListener, Record)
	plain := metadata.Key{Type: first.Keys[0].Type, Blob: first.Keys[0].Blob}
	if diff := cmp.Diff([]string{second.Keys[0].Line(), plain.Line()}, p.Stage); diff != "" {
		t.Errorf("until the proof (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{second.Keys[0].Line()}, p.Final); diff != "" {
		t.Errorf("after it (-want +got):\n%s", diff)
	}
	s.state.Proven.User = "somebody else"
	if p := s.wantSteps(How{}, WriteKeys, Prove, AskListener, Record); len(p.Stage) != 1 {
		t.Errorf("until the proof %q, want nothing that another user's proof stands for", p.Stage)
	}
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
