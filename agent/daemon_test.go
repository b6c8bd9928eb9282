package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// daemon runs a daemon on the rig until stop, which returns what Run did. It
// returns once the first pass is over.
func (r *rig) daemon(e *endpoint) (stop func() error) {
	r.t.Helper()
	r.config.Metadata.Endpoint = e.URL
	if !r.exists(DefaultConfigPath) {
		r.writeConfig("")
	}
	config, err := LoadConfig(r.Root, DefaultConfigPath)
	if err != nil {
		r.t.Fatal(err)
	}
	d := NewDaemon(Options{Root: r.Root, Config: config}, DefaultConfigPath)
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- d.Run(ctx, readyOnly(func() { close(ready) })) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	r.t.Cleanup(func() { _ = stop() })
	select {
	case <-ready:
	case err := <-ended:
		ended <- err
		r.t.Fatalf("run: %v", err)
	case <-time.After(30 * time.Second):
		r.t.Fatal("the first pass is not over after 30 s")
	}
	return stop
}

// readyOnly is a supervisor that wants to know nothing else.
func readyOnly(ready func()) Supervisor {
	return Supervisor{Ready: ready, Status: func(string) {}}
}

// writeConfig gives the machine a configuration with the endpoint, the user and
// more.
func (r *rig) writeConfig(more string) {
	r.WriteFile(DefaultConfigPath, fmt.Sprintf("[metadata]\nendpoint = %q\n[login]\nuser = %q\n%s", r.config.Metadata.Endpoint, testUser, more), 0o644)
}

// status is what the running agent reports.
func (r *rig) status() *Report {
	r.t.Helper()
	report, err := r.agent().AskRunning(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	return report
}

// hasFault tells whether the report has a fault of that ID.
func (r *Report) hasFault(id string) bool {
	for _, fault := range r.Faults {
		if fault.ID == id {
			return true
		}
	}
	return false
}

func TestADaemonBindsAtItsStartAndTellsWhatWaits(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.StartSSHD()
	first, second := testmachine.NewKey(t, "ed25519"), testmachine.NewKey(t, "ed25519")
	e := newEndpoint(t, first)
	stop := r.daemon(e)
	r.wantKey(first, true)
	r.wantPassword(false)
	if report := r.status(); report.Password != "off" || report.Pending != nil || report.PID != os.Getpid() || len(report.Faults) > 0 {
		t.Errorf("status %+v, want passwords off and nothing else", report)
	}
	e.bind(second)
	poll(t, "status says that another binding waits", func() bool { return r.status().Pending != nil })
	r.wantKey(second, false)
	if err := stop(); err != nil {
		t.Errorf("run ended with %v", err)
	}
	r.reboot()
	r.daemon(e)
	r.wantKey(second, true)
	r.wantKey(first, false)
}

func TestWhatAPersonAppliedIsNotUndoneByTheAnswerOfTheBoot(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first, second := testmachine.NewKey(t, "ed25519"), testmachine.NewKey(t, "ed25519")
	e := newEndpoint(t, first)
	r.daemon(e)
	e.bind(second)
	applied := r.pass(bound(t, second), How{Now: true}).Applied.At
	r.WriteFile("/etc/ssh/sshd_config.d/99-site.conf", "PrintMotd no\n", 0o644)
	poll(t, "the agent has taken the change in", func() bool { return r.status().ProvedAt.After(applied) })
	if report := r.status(); report.Pending != nil || len(report.Keys) != 1 || report.Keys[0].Fingerprint != ssh.FingerprintSHA256(second.Signer.PublicKey()) {
		t.Errorf("status %+v, want the second key in force and nothing pending", report)
	}
	state, err := loadState(r.Root, hardwareID(r.Root))
	if err != nil || state.Pending != nil {
		t.Errorf("remembered as pending: %v (%v)", state.Pending, err)
	}
}

func TestALiveDaemonAppliesChangesAsItSeesThem(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.StartSSHD()
	first, second := testmachine.NewKey(t, "ed25519"), testmachine.NewKey(t, "ed25519")
	e := newEndpoint(t, first)
	r.config.Metadata.Endpoint = e.URL
	r.writeConfig("[apply]\nwhen = \"live\"\npoll = \"1s\"\n")
	r.daemon(e)
	r.wantKey(first, true)
	e.bind(second)
	poll(t, "the second key is bound", func() bool { holds, n := r.blockHolds(second); return holds && n == 1 })
	r.wantKey(first, false)
	e.bind()
	poll(t, "passwords are on again", func() bool { return r.LoginPassword(t, testUser, testPassword) == nil })
	poll(t, "the key is gone", func() bool { return !r.logsIn(second) })
	r.wantPassword(true)
}

func TestAnEndpointThatIsAwayChangesNothingUntilItIsBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.StartSSHD()
	key := testmachine.NewKey(t, "ed25519")
	e := newEndpoint(t, key)
	stop := r.daemon(e)
	r.wantPassword(false)
	if err := stop(); err != nil {
		t.Fatal(err)
	}

	r.reboot()
	e.set(func(e *endpoint) { e.down, e.lines = true, nil })
	back := time.AfterFunc(2*time.Second, func() { e.set(func(e *endpoint) { e.down = false }) })
	defer back.Stop()
	stop = r.daemon(e) // the first pass comes when the endpoint has answered, or has been given up
	poll(t, "the key is gone", func() bool { return !r.logsIn(key) })
	r.wantPassword(true)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

func TestAnEndpointOfAnotherInstanceIsNotBelieved(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.StartSSHD()
	key := testmachine.NewKey(t, "ed25519")
	e := newEndpoint(t, key)
	stop := r.daemon(e)
	_ = stop()
	r.reboot()
	e.set(func(e *endpoint) { e.instance, e.lines = "i-other", nil })
	r.daemon(e)
	r.wantKey(key, true)
	r.wantPassword(false)
	report := r.status()
	if !report.hasFault("endpoint-unknown") || !strings.Contains(report.Seen.Reason, "i-other") {
		t.Errorf("status %+v, want it to name the other instance", report)
	}
}

func TestTheStatusSocketAnswersWhileAPassHangs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.StartSSHD()
	e := newEndpoint(t, testmachine.NewKey(t, "ed25519"))
	stop := r.daemon(e)
	r.Run(t, "mkfifo", "/tmp/never")
	calls := r.wrapSSHD(`case "$*" in *-R*) ;; *) exec cat /tmp/never;; esac`)
	before := len(calls())
	r.SSHDConfig("# changed\n" + testmachine.DefaultSSHDConfig)
	poll(t, "the pass hangs in sshd", func() bool { return len(calls()) > before })
	start := time.Now()
	r.status()
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("status took %v", took)
	}
	start = time.Now()
	if err := stop(); err != nil || time.Since(start) > 3*time.Second {
		t.Errorf("the daemon ended after %v with %v", time.Since(start), err)
	}
}

func TestASecondDaemonRefusesToStart(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e := newEndpoint(t)
	r.daemon(e)
	d := NewDaemon(Options{Root: r.Root, Config: r.config}, DefaultConfigPath)
	if err := d.Run(context.Background(), readyOnly(func() {})); !errors.Is(err, ErrRunning) {
		t.Errorf("a second daemon: %v, want ErrRunning", err)
	}
	r.status() // the first one still answers
}

func TestASocketLeftByADeadDaemonIsTakenAway(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Mkdir(RunDir, 0o755)
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: r.agent().socketPath(), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	old.SetUnlinkOnClose(false)
	old.Close()
	stop := r.daemon(newEndpoint(t))
	if info, err := os.Stat(r.agent().socketPath()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v; want one for root alone", info, err)
	}
	r.status()
	_ = stop()
	if _, err := r.agent().AskRunning(context.Background()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after its end: %v, want ErrNotRunning", err)
	}
}

// TestADaemonThatIsToldToEndLeavesNothingBehind is not parallel: it counts the
// goroutines of the whole process.
func TestADaemonThatIsToldToEndLeavesNothingBehind(t *testing.T) {
	for _, after := range []time.Duration{0, 5 * time.Millisecond, 30 * time.Millisecond, 80 * time.Millisecond, 150 * time.Millisecond, 400 * time.Millisecond} {
		t.Run(after.String(), func(t *testing.T) {
			r := newRig(t)
			r.StartSSHD()
			key := testmachine.NewKey(t, "ed25519")
			e := newEndpoint(t, key)
			r.config.Metadata.Endpoint = e.URL
			r.writeConfig("")
			before := goleak.IgnoreCurrent()
			d := NewDaemon(Options{Root: r.Root, Config: r.config}, DefaultConfigPath)
			ctx, cancel := context.WithTimeout(context.Background(), after)
			defer cancel()
			if err := d.Run(ctx, readyOnly(func() {})); err != nil {
				t.Errorf("run: %v", err)
			}
			if late := time.Since(deadlineOf(ctx)); late > 2*time.Second {
				t.Errorf("it ended %v after it was told to", late)
			}
			e.Close() // with the ends of its connections
			goleak.VerifyNone(t, before)
			poll(t, "no process is left", func() bool { return len(r.strangers()) == 0 })
			if !r.offersPassword() && !r.logsIn(key) {
				t.Error("no password is offered and no key logs in")
			}
		})
	}
}

func deadlineOf(ctx context.Context) time.Time {
	deadline, _ := ctx.Deadline()
	return deadline
}

// strangers are the processes in the machine that are not its listener's.
func (r *rig) strangers() []string {
	r.t.Helper()
	roots, err := filepath.Glob("/proc/[0-9]*/root")
	if err != nil {
		r.t.Fatal(err)
	}
	var found []string
	for _, root := range roots {
		pid := filepath.Base(filepath.Dir(root))
		if target, err := os.Readlink(root); err != nil || target != r.Root || pid == strconv.Itoa(r.SSHDPid()) {
			continue
		}
		command, _ := os.ReadFile("/proc/" + pid + "/cmdline")
		found = append(found, pid+" "+strings.ReplaceAll(string(command), "\x00", " "))
	}
	return found
}

// TestAnIdleDaemonDoesNotWakeUp runs alone: other tests mount machines, which a
// daemon notices.
func TestAnIdleDaemonDoesNotWakeUp(t *testing.T) {
	r := newRig(t)
	r.StartSSHD()
	e := newEndpoint(t, testmachine.NewKey(t, "ed25519"))
	r.config.Metadata.Endpoint = e.URL
	r.writeConfig("")
	cmd := r.errand(nil, How{})
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() })
	t.Cleanup(func() { _ = cmd.Process.Signal(os.Interrupt); _ = cmd.Process.Kill() })
	poll(t, "the key is bound", func() bool { return r.state().Applied != nil && !r.state().Unfinished })
	// The endpoint closes its side: what is left of the client's idle connection
	// would be a timer.
	visited := e.visited()
	e.CloseClientConnections()
	// The watches settle, the process comes to rest.
	quiet := func(d time.Duration) int {
		before := switches(t, cmd.Process.Pid)
		<-time.After(d)
		return switches(t, cmd.Process.Pid) - before
	}
	poll(t, "the daemon rests", func() bool { return quiet(300*time.Millisecond) == 0 })
	if n := quiet(2 * time.Second); n > 2 {
		t.Errorf("%d context switches in two seconds of nothing, want none", n)
	}
	if now := e.visited(); now != visited {
		t.Errorf("the endpoint was read %d times more", now-visited)
	}
}

// switches is how often the threads of a process have been woken up.
func switches(t *testing.T, pid int) int {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(files) == 0 {
		t.Fatalf("process %d: %v", pid, err)
	}
	total := 0
	for _, file := range files {
		text, _ := os.ReadFile(file)
		for line := range strings.Lines(string(text)) {
			if value, found := strings.CutPrefix(line, "voluntary_ctxt_switches:"); found {
				n, _ := strconv.Atoi(strings.TrimSpace(value))
				total += n
			}
		}
	}
	return total
}
