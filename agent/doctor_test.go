package agent

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
	"github.com/latchkey-ssh/latchkey/metadata"
)

// doctor makes a doctor's checks, as "result name".
func (r *rig) doctor(seen metadata.Binding) (names []string, checks []Check) {
	r.t.Helper()
	checks, err := r.agent().Doctor(context.Background(), seen)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, c := range checks {
		names = append(names, string(c.Result)+" "+c.Name)
	}
	return names, checks
}

// observed is a doctor that has looked at the machine, and not checked it yet.
func (r *rig) observed(seen metadata.Binding) *doctor {
	r.t.Helper()
	d := &doctor{agent: r.agent(), state: r.state(), seen: seen}
	if !d.observe(r.t.Context()) {
		r.t.Fatalf("the doctor cannot look at the machine: %+v", d.checks)
	}
	return d
}

// answerAsAgent answers on the status socket as latchkeyd does.
func (r *rig) answerAsAgent(seen metadata.Binding) {
	r.t.Helper()
	a := r.agent()
	dir, err := a.runDir()
	if err != nil {
		r.t.Fatal(err)
	}
	defer dir.Close()
	listener, err := a.listen()
	if err != nil {
		r.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		serve(context.Background(), listener, func(context.Context) (*Report, error) {
			report, err := a.Report(seen)
			if err != nil {
				return nil, err
			}
			return report.withPID(), nil
		})
	}()
	r.t.Cleanup(func() {
		listener.Close()
		<-done
	})
}

func TestDoctorOfAHealthyInstancePassesEveryCheck(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.StartSSHD()
	key := testmachine.NewKey(t, "ed25519")
	seen := bound(t, key)
	r.pass(seen, How{})
	r.answerAsAgent(seen)
	before := r.sshdFiles()
	state := r.ReadFile(StateDir + "/" + stateFile)

	_, checks := r.doctor(seen)
	print := seen.Keys[0].Fingerprint()
	want := []Check{
		{"endpoint", Pass, "http://100.100.100.200 answers for i-test1: bound " + print, ""},
		{"in-force", Pass, "bound " + print, ""},
		{"sshd-config", Pass, "sshd -t takes /etc/ssh/sshd_config", ""},
		{"account", Pass, "ecs-user, uid UID, is open; home /home/ecs-user, shell /bin/bash", ""},
		{"keys-file", Pass, keyFile + " holds " + print, ""},
		{"key-type", Pass, "ssh-ed25519 key " + print + ": sshd takes it as ssh-ed25519", ""},
		{"proof", Pass, "VERSION under a copy of this configuration takes the key and lets ecs-user in; it offers publickey", ""},
		{"password", Pass, "off: neither password nor keyboard-interactive is offered", ""},
		{"listener", Pass, "the running sshd at " + r.Address() + " takes the key and offers publickey", ""},
		{"agent", Pass, fmt.Sprintf("latchkeyd runs, process %d", os.Getpid()), ""},
	}
	for i := range checks { // what differs between machines
		checks[i].Detail = strings.Replace(checks[i].Detail, "uid "+r.uid()+",", "uid UID,", 1)
		if _, rest, found := strings.Cut(checks[i].Detail, " under a copy"); found && strings.HasPrefix(checks[i].Detail, "OpenSSH_") {
			checks[i].Detail = "VERSION under a copy" + rest
		}
	}
	if diff := cmp.Diff(want, checks); diff != "" {
		t.Errorf("checks (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, r.sshdFiles()); diff != "" || r.ReadFile(StateDir+"/"+stateFile) != state {
		t.Errorf("the doctor changed something (-before +after):\n%s", diff)
	}
}

func (r *rig) uid() string {
	r.t.Helper()
	return strings.TrimSpace(r.Run(r.t, "id", "-u", testUser))
}

func TestDoctorsChecksAreAlwaysInTheSameOrder(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		stage func(*rig)
		seen  func(*testing.T) metadata.Binding // what the endpoint says to the doctor
		want  []string
	}{
		{
			"nothing bound", func(r *rig) { r.StartSSHD(); r.pass(unbound(), How{}) },
			func(*testing.T) metadata.Binding { return unbound() },
			[]string{
				"pass endpoint", "pass in-force", "pass sshd-config", "pass account", "pass keys-file",
				"pass password", "pass listener", "fail agent",
			},
		},
		{
			"nothing known", func(*rig) {}, func(*testing.T) metadata.Binding { return unknown() },
			[]string{"fail endpoint", "unknown in-force", "pass sshd-config", "pass account", "unknown listener", "fail agent"},
		},
		{
			"bound, and no pass made", func(r *rig) { r.StartSSHD() }, bindingOfAnyKey,
			[]string{
				"pass endpoint", "unknown in-force", "pass sshd-config", "pass account", "fail keys-file",
				"pass key-type", "fail key-refused", "fail password", "pass listener", "fail agent",
			},
		},
		{
			"two causes at once", all(configured("AllowUsers alice"), command("chage", "-E", "2020-01-01", testUser), func(r *rig) {
				r.StartSSHD()
				r.pass(bindingOfAnyKey(r.t), How{})
			}), func(*testing.T) metadata.Binding { return unknown() },
			[]string{
				"fail endpoint", "pass in-force", "pass sshd-config", "fail account-expired", "pass keys-file",
				"pass key-type", "fail allow-users", "fail password", "pass listener", "fail agent",
			},
		},
		{
			"no sshd and no account", func(r *rig) {
				command("rm", "/usr/sbin/sshd")(r)
				r.config.Login.User = "nobody-here"
			}, bindingOfAnyKey,
			[]string{"pass endpoint", "unknown in-force", "fail sshd-missing", "fail user-unknown", "fail agent"},
		},
		{
			"another instance's endpoint", func(r *rig) { r.StartSSHD(); r.pass(unbound(), How{}) },
			func(t *testing.T) metadata.Binding {
				b := bindingOfAnyKey(t)
				b.InstanceID = "i-other"
				return b
			},
			[]string{
				"fail endpoint", "pass in-force", "pass sshd-config", "pass account", "pass keys-file",
				"pass password", "pass listener", "fail agent",
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			c.stage(r)
			names, checks := r.doctor(c.seen(t))
			if diff := cmp.Diff(c.want, names); diff != "" {
				t.Errorf("checks (-want +got):\n%s", diff)
			}
			for _, check := range checks {
				if check.Detail == "" || (check.Result == Pass) != (check.Remedy == "") {
					t.Errorf("%+v: want a detail, and a remedy exactly where it does not pass", check)
				}
			}
		})
	}
}

func bindingOfAnyKey(t *testing.T) metadata.Binding {
	return bound(t, testmachine.NewKey(t, "ed25519"))
}

// TestDoctorFindsAListenerThatWasNotReloaded: what is configured is sound, what
// runs is something else.
func TestDoctorFindsAListenerThatWasNotReloaded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	seen := bindingOfAnyKey(t)
	r.pass(seen, How{})
	drop := r.ReadFile("/etc/ssh/sshd_config.d/00-latchkey.conf")
	command("rm", "/etc/ssh/sshd_config.d/00-latchkey.conf")(r)
	r.StartSSHD()
	r.WriteFile("/etc/ssh/sshd_config.d/00-latchkey.conf", drop, 0o644)

	names, _ := r.doctor(seen)
	want := []string{
		"pass endpoint", "pass in-force", "pass sshd-config", "pass account", "pass keys-file", "pass key-type", "pass proof",
		"pass password", "fail listener-offers-password", "fail agent",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("checks (-want +got):\n%s", diff)
	}
}
