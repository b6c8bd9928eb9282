package agent

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/authkeys/indexer"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
	"github.com/latchkey-ssh/latchkey/metadata"
)

const helperPath = "/usr/sbin/" + helperName

// helperFolder is where the helper is built for all tests of this binary; TestMain
// takes it away.
var helperFolder = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "latchkey-helper-")
	if err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", dir, "../cmd/"+helperName)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		_ = os.RemoveAll(dir)
		return string(out), err
	}
	return dir, nil
})

// helperBuilt is set once there is something to take away.
var helperBuilt atomic.Bool

func removeHelper() {
	if !helperBuilt.Load() {
		return
	}
	if dir, err := helperFolder(); err == nil {
		_ = os.RemoveAll(dir)
	}
}

// newBoundRig is a rig whose sshd runs, and for which a key is bound and delivered in that
// way.
func newBoundRig(t *testing.T, delivery Delivery) (*rig, testmachine.Key) {
	t.Helper()
	r := newRig(t)
	r.deliverBy(delivery)
	r.StartSSHD()
	key := testmachine.NewKey(t, "ed25519")
	r.pass(bound(t, key), How{})
	return r, key
}

// deliverBy has the machine deliver keys in that way, with the helper and its
// account in place.
func (r *rig) deliverBy(delivery Delivery) {
	r.t.Helper()
	r.config.Apply.Delivery = delivery
	helperBuilt.Store(true)
	dir, err := helperFolder()
	if err != nil {
		r.t.Fatalf("build the helper: %v\n%s", err, dir)
	}
	program, err := os.ReadFile(filepath.Join(dir, helperName))
	if err != nil {
		r.t.Fatal(err)
	}
	r.WriteFile(helperPath, string(program), 0o755)
	r.Run(r.t, "useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", HelperUser)
}

func TestByCommandTheKeyLogsInAndNothingIsWrittenIntoTheHome(t *testing.T) {
	t.Parallel()
	for _, release := range []string{here, older, newer} {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			r := newRigOf(t, release)
			r.deliverBy(ByCommand)
			r.StartSSHD()
			key, home, files := testmachine.NewKey(t, "ed25519"), "/home/"+testUser, r.sshdFiles()
			before := r.traces(home)

			if outcome := r.pass(bound(t, key), How{}); !outcome.Applied.PasswordClosed {
				t.Fatalf("passwords stay on: %+v", outcome.Applied.Faults)
			}
			r.wantKey(key, true)
			r.wantPassword(false)
			report, err := r.agent().Report(unknown())
			if err != nil || report.Index != index.Bound || report.KeysFile != "" {
				t.Errorf("status says the key is in %q and %q, %v", report.KeysFile, report.Index, err)
			}

			r.pass(unbound(), How{Now: true})
			r.wantKey(key, false)
			r.wantPassword(true)
			if r.exists(index.Bound) {
				t.Error("the index is still there")
			}
			if diff := cmp.Diff(files, r.sshdFiles()); diff != "" {
				t.Errorf("sshd's files (-before +after):\n%s", diff)
			}
			r.wantUntouched(before, home)
		})
	}
}

func TestByBothTheKeyLogsInFromEitherAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.deliverBy(ByBoth)
	r.StartSSHD()
	key := testmachine.NewKey(t, "ed25519")
	if outcome := r.pass(bound(t, key), How{}); !outcome.Applied.PasswordClosed {
		t.Fatalf("passwords stay on: %+v", outcome.Applied.Faults)
	}
	r.wantKey(key, true)
	block := r.ReadFile(keysFile)
	r.remove(keysFile)
	r.wantKey(key, true)
	r.remove(index.Bound)
	r.wantKey(key, false)
	r.AuthorizedKeys(testUser, block)
	r.wantKey(key, true)
	r.pass(unbound(), How{Now: true})
	r.wantKey(key, false)
}

// TestEachWayMustBeProvedWhereBothAreAskedFor: a command that does not work is not
// hidden by the file.
func TestEachWayMustBeProvedWhereBothAreAskedFor(t *testing.T) {
	t.Parallel()
	for name, stage := range map[string]func(r *rig){
		"the command": func(r *rig) { r.WriteFile(helperPath, "#!/bin/sh\nexit 1\n", 0o755) },
		"the file":    func(r *rig) { r.Run(r.t, "chmod", "0777", "/home/"+testUser) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.deliverBy(ByBoth)
			stage(r)
			r.StartSSHD()
			outcome := r.pass(bound(t, testmachine.NewKey(t, "ed25519")), How{})
			if outcome.Applied.PasswordClosed || len(outcome.Applied.Faults) == 0 {
				t.Errorf("closed %v with the faults %+v; want passwords on, and why", outcome.Applied.PasswordClosed, outcome.Applied.Faults)
			}
			r.wantPassword(true)
		})
	}
}

func TestTheDoorClosesAndOpensAgainByCommand(t *testing.T) {
	t.Parallel()
	for _, c := range doorCases {
		if !c.everyKind {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.deliverBy(ByCommand)
			c.check(t, r)
		})
	}
}

func TestAnotherKeyReplacesTheOneInTheIndexOnceItIsProved(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.deliverBy(ByCommand)
	r.config.Apply.When = Live
	r.SSHDConfig("PubkeyAcceptedAlgorithms ssh-ed25519\n" + testmachine.DefaultSSHDConfig)
	r.StartSSHD()
	first, refused, second := testmachine.NewKey(t, "ed25519"), testmachine.NewKey(t, "ecdsa-256"), testmachine.NewKey(t, "ed25519")
	r.pass(bound(t, first), How{})
	outcome := r.pass(bound(t, refused), How{})
	r.wantKey(first, true)
	r.wantPassword(false)
	if !outcome.Applied.hasFault("older-key-stays") {
		t.Errorf("faults %+v, want the older key named", outcome.Applied.Faults)
	}
	r.pass(bound(t, second), How{})
	r.wantKey(first, false)
	r.wantKey(second, true)
	r.pass(unbound(), How{})
	r.wantKey(second, false)
	r.wantPassword(true)
}

// TestTheIndexIsPutBack: whoever spoils it, and in whichever way.
func TestTheIndexIsPutBack(t *testing.T) {
	t.Parallel()
	r, key := newBoundRig(t, ByCommand)
	seen := bound(t, key)
	for name, spoil := range map[string]func(){
		"removed":                func() { r.remove(index.Bound) },
		"emptied":                func() { r.WriteFile(index.Bound, "", 0o644) },
		"damaged":                func() { r.WriteFile(index.Bound, strings.Repeat("x", 4096), 0o644) },
		"somebody else's":        func() { r.Run(t, "chown", testUser+":", index.Bound) },
		"writable by all":        func() { r.Run(t, "chmod", "0666", index.Bound) },
		"readable by root alone": func() { r.Run(t, "chmod", "0600", index.Bound) },
		"a link": func() {
			r.Run(t, "mv", index.Bound, index.Bound+".moved")
			r.Run(t, "ln", "-s", index.Bound+".moved", index.Bound)
		},
		"somebody else's line added": func() {
			line := strings.TrimSpace(key.Line)
			r.publish(indexer.User{Name: testUser, Lines: []string{line}}, indexer.User{Name: "root", Lines: []string{line}})
		},
		"its folder removed":          func() { r.Run(t, "rm", "-r", index.Dir) },
		"its folder writable by all":  func() { r.Run(t, "chmod", "0777", index.Dir) },
		"its folder not to be passed": func() { r.Run(t, "chmod", "0700", index.Dir) },
		"its folder somebody else's":  func() { r.Run(t, "chown", testUser+":", index.Dir) },
	} {
		spoil()
		if checks := r.keyChecks(seen); !slices.ContainsFunc(checks, func(c Check) bool { return c.Name == "key-index" && c.Result == Fail }) {
			t.Errorf("%s: doctor does not name the index: %+v", name, checks)
		}
		if outcome := r.pass(seen, How{}); !outcome.Applied.PasswordClosed || len(outcome.Applied.Faults) > 0 {
			t.Errorf("%s: passwords closed %v, faults %+v", name, outcome.Applied.PasswordClosed, outcome.Applied.Faults)
		}
		if !r.logsIn(key) {
			t.Errorf("%s: the key does not log in", name)
		}
	}
	r.wantPassword(false)
}

// publish writes the index of bound keys as root may.
func (r *rig) publish(users ...indexer.User) {
	r.t.Helper()
	dir, err := os.OpenRoot(r.Path(index.Dir))
	noError(r.t, err)
	defer dir.Close()
	noError(r.t, indexer.Write(dir, filepath.Base(index.Bound), users...))
}

// keyChecks are what the doctor says of the places that keys are in.
func (r *rig) keyChecks(seen metadata.Binding) []Check {
	r.t.Helper()
	d := r.observed(seen)
	d.keys()
	return d.checks
}

// adminScript is an administrator's own AuthorizedKeysCommand, which knows one key
// and remembers what it was asked.
func (r *rig) adminScript(name string, key testmachine.Key) {
	r.WriteFile(name, "#!/bin/sh\nfor word; do printf '<%s>' \"$word\"; done >>/tmp/asked\nid -un >>/tmp/asked\necho '"+strings.TrimSpace(key.Line)+"'\n", 0o755)
	r.WriteFile("/tmp/asked", "", 0o666)
}

func TestAnAdministratorsCommandIsKeptAndAskedAfterOurs(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]string{
		"for everybody":      "AuthorizedKeysCommand /usr/local/bin/keys %u \"two words\" %f\nAuthorizedKeysCommandUser nobody\n" + testmachine.DefaultSSHDConfig,
		"for the logon user": testmachine.DefaultSSHDConfig + "Match User " + testUser + "\n\tAuthorizedKeysCommand /usr/local/bin/keys %u \"two words\" %f\n\tAuthorizedKeysCommandUser nobody\n",
		"for a group":        testmachine.DefaultSSHDConfig + "Match Group " + testUser + "\n\tAuthorizedKeysCommand /usr/local/bin/keys %u \"two words\" %f\n\tAuthorizedKeysCommandUser nobody\n",
		"without Include":    "AuthorizedKeysCommand /usr/local/bin/keys %u \"two words\" %f\nAuthorizedKeysCommandUser nobody\nUsePAM yes\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.deliverBy(ByCommand)
			key, admins := testmachine.NewKey(t, "ed25519"), testmachine.NewKey(t, "ed25519")
			r.adminScript("/usr/local/bin/keys", admins)
			r.SSHDConfig(config)
			r.StartSSHD()
			r.wantKey(admins, true)
			before := r.ReadFile("/tmp/asked")
			files := r.sshdFiles()
			others := r.commandOf("root")

			if outcome := r.pass(bound(t, key), How{}); !outcome.Applied.PasswordClosed {
				t.Fatalf("passwords stay on: %+v", outcome.Applied.Faults)
			}
			r.wantKey(key, true)
			r.WriteFile("/tmp/asked", "", 0o666)
			r.wantKey(admins, true)
			if diff := cmp.Diff(before, r.ReadFile("/tmp/asked")); diff != "" {
				t.Errorf("what the administrator's command was asked (-before +after):\n%s", diff)
			}
			if diff := cmp.Diff(others, r.commandOf("root")); diff != "" {
				t.Errorf("command for other users (-before +after):\n%s", diff)
			}
			r.pass(unbound(), How{Now: true})
			if diff := cmp.Diff(files, r.sshdFiles()); diff != "" {
				t.Errorf("sshd's files (-before +after):\n%s", diff)
			}
			r.wantKey(admins, true)
		})
	}
}

// commandOf is what sshd asks for a user's keys.
func (r *rig) commandOf(user string) []string {
	r.t.Helper()
	var lines []string
	for line := range strings.Lines(r.Run(r.t, "sshd", "-T", "-C", "user="+user+",host=h,addr=192.0.2.1,laddr=192.0.2.2,lport=22")) {
		if strings.HasPrefix(line, "authorizedkeyscommand") {
			lines = append(lines, line)
		}
	}
	return lines
}

// notToBeTakenOver are machines on which sshd cannot be given the helper, and how plan
// and doctor name that.
var notToBeTakenOver = map[string]struct {
	stage func(r *rig)
	cause string
}{
	"set by address": {func(r *rig) { r.SSHDConfig(byAddress) }, "keys-command-chain"},
	"its program unsafe": {func(r *rig) {
		r.SSHDConfig("AuthorizedKeysCommand /usr/local/bin/keys\nAuthorizedKeysCommandUser nobody\n" + testmachine.DefaultSSHDConfig)
		r.WriteFile("/usr/local/bin/keys", "#!/bin/sh\n", 0o757)
	}, "keys-command-chain"},
	"its program missing": {func(r *rig) {
		r.SSHDConfig("AuthorizedKeysCommand /usr/local/bin/keys\nAuthorizedKeysCommandUser nobody\n" + testmachine.DefaultSSHDConfig)
	}, "keys-command-chain"},
	"its user missing": {func(r *rig) {
		r.SSHDConfig("AuthorizedKeysCommand /bin/echo\nAuthorizedKeysCommandUser nobody-here\n" + testmachine.DefaultSSHDConfig)
	}, "keys-command-chain"},
	"helper missing":          {func(r *rig) { r.remove(helperPath) }, "keys-command-missing"},
	"helper writable by all":  {func(r *rig) { r.Run(r.t, "chmod", "0777", helperPath) }, "keys-command-unsafe"},
	"helper somebody else's":  {func(r *rig) { r.Run(r.t, "chown", testUser+":", helperPath) }, "keys-command-unsafe"},
	"helper no program":       {func(r *rig) { r.Run(r.t, "chmod", "0644", helperPath) }, "keys-command-unsafe"},
	"its folder writable":     {func(r *rig) { r.Run(r.t, "chmod", "0777", "/usr/sbin") }, "keys-command-unsafe"},
	"index in a loose folder": {func(r *rig) { r.Run(r.t, "chmod", "0777", "/var/lib") }, "key-index-folder"},
	"account missing":         {func(r *rig) { r.Run(r.t, "userdel", HelperUser) }, "keys-command-user"},
}

func TestWhereTheCommandCannotBeTakenOverNothingIs(t *testing.T) {
	t.Parallel()
	for name, c := range notToBeTakenOver {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.deliverBy(ByCommand)
			c.stage(r)
			files, key := r.sshdFiles(), testmachine.NewKey(t, "ed25519")
			seen := bound(t, key)
			if _, err := r.agent().Plan(context.Background(), seen); err == nil || blocker(err).ID != c.cause {
				t.Errorf("plan: %v, want %s", err, c.cause)
			}
			if _, err := r.agent().Pass(context.Background(), seen, How{}); err == nil || blocker(err).ID != c.cause {
				t.Errorf("pass: %v, want %s", err, c.cause)
			}
			names, checks := r.doctor(seen)
			if !strings.Contains(strings.Join(names, ","), "fail "+c.cause) {
				t.Errorf("doctor: %v, want %s: %+v", names, c.cause, checks)
			}
			if diff := cmp.Diff(files, r.sshdFiles()); diff != "" || r.exists(index.Bound) {
				t.Errorf("something was taken over (-before +after):\n%s", diff)
			}
		})
	}
}

// TestWhatKeepsTheCommandFromBeingTakenOverLaterOnIsReported: what is in place stays
// as it is.
func TestWhatKeepsTheCommandFromBeingTakenOverLaterOnIsReported(t *testing.T) {
	t.Parallel()
	for name, c := range notToBeTakenOver {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, key := newBoundRig(t, ByCommand)
			seen := bound(t, key)
			policy := r.ReadFile(dropIn)
			c.stage(r)
			if _, err := r.agent().Pass(context.Background(), seen, How{}); err == nil || blocker(err).ID != c.cause {
				t.Errorf("pass: %v, want %s", err, c.cause)
			}
			r.answerAsAgent(seen)
			if names, _ := r.doctor(seen); !strings.Contains(strings.Join(names, ","), "fail "+c.cause) {
				t.Errorf("doctor: %v, want %s", names, c.cause)
			}
			if diff := cmp.Diff(policy, r.ReadFile(dropIn)); diff != "" {
				t.Errorf("the policy (-before +after):\n%s", diff)
			}
			r.pass(unbound(), How{Now: true})
			r.wantPassword(true)
		})
	}
}

// TestBetweenFileAndCommandThereIsNoMomentInWhichTheKeyDoesNotWork logs in all the
// while.
func TestBetweenFileAndCommandThereIsNoMomentInWhichTheKeyDoesNotWork(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.deliverBy(ByFile)
	r.SSHDConfig("MaxStartups 100\nPubkeyAuthentication yes\n" + testmachine.DefaultSSHDConfig)
	r.StartSSHD()
	key := testmachine.NewKey(t, "ed25519")
	seen := bound(t, key)
	r.pass(seen, How{})

	stop := r.keepLoggingIn(key, 3)
	for _, delivery := range []Delivery{ByCommand, ByFile, ByBoth, ByCommand, ByBoth, ByFile} {
		r.config.Apply.Delivery = delivery
		outcome := r.pass(seen, How{})
		if !outcome.Applied.PasswordClosed || len(outcome.Applied.Faults) > 0 {
			t.Errorf("%s: passwords closed %v, faults %+v", delivery, outcome.Applied.PasswordClosed, outcome.Applied.Faults)
		}
		_, inFile := r.blockHolds(key)
		if (inFile == 1) != delivery.file() || r.exists(index.Bound) != delivery.command() {
			t.Errorf("%s: %d keys in the file, index there: %v", delivery, inFile, r.exists(index.Bound))
		}
	}
	logons, failed := stop()
	t.Logf("%d logons", logons)
	if len(failed) > 0 || logons < 20 {
		t.Errorf("%d logons, of which failed: %v", logons, failed)
	}
}

// keepLoggingIn logs in by the key, some at a time, until stop, which tells how often it
// got in, and what came of those that sshd refused. A connection that sshd did not take at
// all, while it loaded its configuration, is no refusal.
func (r *rig) keepLoggingIn(key testmachine.Key, clients int) (stop func() (int, []error)) {
	var mu sync.Mutex
	var group sync.WaitGroup
	done, logons, failed := make(chan struct{}), 0, []error(nil)
	once := func() {
		err := r.Login(r.t, testUser, key.Signer)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err == nil:
			logons++
		case strings.Contains(err.Error(), "unable to authenticate"):
			failed = append(failed, err)
		}
	}
	for range clients {
		group.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					once()
				}
			}
		})
	}
	return func() (int, []error) {
		close(done)
		group.Wait()
		return logons, failed
	}
}

func TestRevocationByCommandIsImmediateInLiveMode(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.deliverBy(ByCommand)
	r.StartSSHD()
	key := testmachine.NewKey(t, "ed25519")
	e := newLiveEndpoint(t, key)
	r.config.Metadata.Endpoint = e.URL
	r.writeConfig("[apply]\nwhen = \"live\"\ndelivery = \"command\"\npoll = \"1h\"\n")
	r.config.Apply.When = Live
	r.daemon(e.endpoint)
	poll(t, "the key logs in", func() bool { return r.logsIn(key) })
	e.bind()
	poll(t, "it does not any more", func() bool { return !r.exists(index.Bound) })
	r.wantKey(key, false)
	r.wantPassword(true)
}

func TestALaterLogonUserGetsTheIndexAndTheEarlierLosesIt(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.deliverBy(ByCommand)
	r.AddUser("second", "another horse")
	r.StartSSHD()
	key := testmachine.NewKey(t, "ed25519")
	r.pass(bound(t, key), How{})
	r.config.Login.User = "second"
	r.pass(bound(t, key), How{Now: true})
	if err := r.Login(t, "second", key.Signer); err != nil {
		t.Errorf("the later user: %v", err)
	}
	r.wantKey(key, false)
	if lines := lookAtIndex(r.Root, testUser, nil).lines(); len(lines) > 0 {
		t.Errorf("the index still has %d lines of the earlier user", len(lines))
	}
}
