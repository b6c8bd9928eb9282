package bench

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ssh/latchkey/agent"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
	"github.com/latchkey-ssh/latchkey/keypair/imds"
	"github.com/latchkey-ssh/latchkey/metadata"
)

const (
	user       = "ecs-user"
	instanceID = "i-bench"
)

// rig is an instance with a real sshd, an agent for it, and two key pairs to
// bind in turn.
type rig struct {
	*testmachine.Machine
	config agent.Config
	keys   [2]testmachine.Key
}

func newRig(b *testing.B) *rig {
	b.Helper()
	r := &rig{Machine: testmachine.New(b), config: agent.DefaultConfig()}
	r.config.Login.User = user
	r.AddUser(user, "a password")
	for i := range r.keys {
		r.keys[i] = testmachine.NewKey(b, "ed25519")
	}
	return r
}

// pass makes a pass with a new agent, as after a start.
func (r *rig) pass(b *testing.B, seen metadata.Binding) *agent.Outcome {
	b.Helper()
	a := agent.New(agent.Options{Root: r.Root, Config: r.config})
	outcome, err := a.Pass(context.Background(), seen, agent.How{Now: true})
	if err != nil {
		b.Fatal(err)
	}
	if outcome.Applied == nil || len(outcome.Applied.Faults) > 0 {
		b.Fatalf("applied %+v", outcome.Applied)
	}
	return outcome
}

func (r *rig) bound(b *testing.B, i int) metadata.Binding {
	b.Helper()
	key, err := metadata.ParseKey(r.keys[i%2].Line)
	if err != nil {
		b.Fatal(err)
	}
	return metadata.Binding{State: metadata.Bound, InstanceID: instanceID, Keys: []metadata.Key{key}, At: time.Now()}
}

func unbound() metadata.Binding {
	return metadata.Binding{State: metadata.Unbound, InstanceID: instanceID, At: time.Now()}
}

// after is when a step of the outcome was over.
func after(b *testing.B, o *agent.Outcome, verb agent.Verb) time.Duration {
	b.Helper()
	for _, done := range o.Done {
		if done.Verb == verb {
			return done.After
		}
	}
	b.Fatalf("the pass took no step %s", verb)
	return 0
}

// report gives the mean in milliseconds beside its goal.
func report(b *testing.B, total time.Duration, name string, goal float64) {
	b.Helper()
	b.ReportMetric(milliseconds(total)/float64(b.N), name)
	b.ReportMetric(goal, "goal-"+name)
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// BenchmarkAnswerToKey is from the endpoint's answer to the key in place, where
// sshd's effective configuration is known from an earlier pass.
func BenchmarkAnswerToKey(b *testing.B) {
	r := newRig(b)
	r.pass(b, r.bound(b, 1))
	var total time.Duration
	for i := 0; b.Loop(); i++ {
		total += after(b, r.pass(b, r.bound(b, i)), agent.WriteKeys)
	}
	report(b, total, "ms/key", 5)
	b.Log("limit: reading sshd's configuration, the account files and the state; the exchange of the keys file")
}

// BenchmarkFirstAnswerToKey is the same on an instance that was never seen:
// sshd -T has to say where keys go.
func BenchmarkFirstAnswerToKey(b *testing.B) {
	r := newRig(b)
	var total time.Duration
	for b.Loop() {
		if err := os.RemoveAll(r.Path(agent.StateDir)); err != nil {
			b.Fatal(err)
		}
		r.pass(b, unbound())
		if err := os.RemoveAll(r.Path(agent.StateDir)); err != nil {
			b.Fatal(err)
		}
		total += after(b, r.pass(b, r.bound(b, 0)), agent.WriteKeys)
	}
	report(b, total, "ms/key", 5)
	b.Log("limit: one run of sshd -T")
}

// BenchmarkBind is a whole bind with all its proofs and a listener to reload,
// beside one logon at that listener with OpenSSH's client.
func BenchmarkBind(b *testing.B) {
	r := newRig(b)
	r.StartSSHD()
	testmachine.RequireProgram(b, "ssh")
	var bind, logon time.Duration
	for b.Loop() {
		start := time.Now()
		r.pass(b, r.bound(b, 0))
		bind += time.Since(start)
		start = time.Now()
		if out, err := r.OpenSSH(b, user, []string{"-i", r.keys[0].PEM}, "true").CombinedOutput(); err != nil {
			b.Fatalf("ssh: %v\n%s", err, out)
		}
		logon += time.Since(start)
		r.pass(b, unbound())
	}
	report(b, bind, "ms/bind", 150)
	b.ReportMetric(milliseconds(logon)/float64(b.N), "ms/ssh-logon")
	b.ReportMetric(float64(bind)/float64(logon), "x-ssh-logon")
	b.Log("limit: sshd's own start for each question, its reload, and two cores for what runs at once")
}

// BenchmarkNothingToDo is a pass over an instance that is as it should be.
func BenchmarkNothingToDo(b *testing.B) {
	r := newRig(b)
	seen := r.bound(b, 0)
	r.pass(b, seen)
	start := time.Now()
	for b.Loop() {
		if done := r.pass(b, seen).Done; len(done) > 0 {
			b.Fatalf("took %v, want nothing done", done)
		}
	}
	report(b, time.Since(start), "ms/pass", 2)
	b.Log("limit: reading the state, sshd's configuration and the keys file")
}

// daemon is a latchkeyd beside a metadata endpoint.
type daemon struct {
	*rig
	program  string
	endpoint *imds.Endpoint
}

func newDaemon(b *testing.B) *daemon {
	b.Helper()
	d := &daemon{rig: newRig(b), program: buildProgram(b, "../cmd/latchkeyd")}
	d.endpoint = imds.New(imds.Instance{ID: instanceID, HTTPTokens: imds.TokensOptional, HTTPEndpoint: imds.EndpointEnabled})
	server := httptest.NewServer(d.endpoint)
	b.Cleanup(server.Close)
	d.WriteFile("/etc/latchkey/latchkey.toml",
		fmt.Sprintf("[metadata]\nendpoint = %q\n[login]\nuser = %q\n", server.URL, user), 0o644)
	return d
}

// start runs latchkeyd and returns it with the time it took until the key was
// in the keys file.
func (d *daemon) start(b *testing.B, key testmachine.Key) (*exec.Cmd, time.Duration) {
	b.Helper()
	d.endpoint.Bind("bench", key.Line)
	blob := strings.Fields(key.Line)[1]
	file := d.Path("/home/" + user + "/.ssh/authorized_keys")
	cmd := exec.Command(d.program, "--root", d.Root)
	start := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	for deadline := start.Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Microsecond) {
		if data, err := os.ReadFile(file); err == nil && strings.Contains(string(data), blob) {
			return cmd, time.Since(start)
		}
	}
	_ = cmd.Process.Kill()
	b.Fatal("the key was not written")
	return nil, 0
}

func stop(b *testing.B, cmd *exec.Cmd) {
	b.Helper()
	_ = cmd.Process.Signal(os.Interrupt)
	if err := cmd.Wait(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkStartToKey is from the start of the process to the key in place, at
// a boot at which another key is bound than before.
func BenchmarkStartToKey(b *testing.B) {
	d := newDaemon(b)
	first, _ := d.start(b, d.keys[1])
	d.waitApplied(b, d.keys[1])
	stop(b, first)
	var total time.Duration
	for i := 0; b.Loop(); i++ {
		d.forgetBoot(b)
		cmd, took := d.start(b, d.keys[i%2])
		total += took
		d.waitApplied(b, d.keys[i%2])
		stop(b, cmd)
	}
	report(b, total, "ms/start", 8)
	b.Log("limit: start of the Go runtime and its packages, eight requests to the endpoint")
}

// forgetBoot makes the next start the first of a boot.
func (d *daemon) forgetBoot(b *testing.B) {
	b.Helper()
	file := agent.StateDir + "/state.json"
	text := d.ReadFile(file)
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		b.Fatal(err)
	}
	another := "00000000-0000-4000-8000-000000000000"
	d.WriteFile(file, strings.ReplaceAll(text, strings.TrimSpace(string(id)), another), 0o600)
}

// waitApplied waits until the pass that binds key is recorded.
func (d *daemon) waitApplied(b *testing.B, key testmachine.Key) {
	b.Helper()
	a := agent.New(agent.Options{Root: d.Root, Config: d.config})
	parsed, err := metadata.ParseKey(key.Line)
	if err != nil {
		b.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		r, err := a.Report(metadata.Binding{State: metadata.Unknown, Reason: "not asked", At: time.Now()})
		if err == nil && len(r.Keys) == 1 && r.ThisBoot && r.Keys[0].Fingerprint == parsed.Fingerprint() {
			return
		}
	}
	b.Fatal("the binding was not applied")
}

// idleTime is how long an agent is watched doing nothing.
const idleTime = 10 * time.Second

// BenchmarkIdle is the memory of an agent with nothing to do, and how often it
// wakes up.
func BenchmarkIdle(b *testing.B) {
	d := newDaemon(b)
	cmd, _ := d.start(b, d.keys[0])
	defer stop(b, cmd)
	d.waitApplied(b, d.keys[0])
	time.Sleep(time.Second) // the last words of start-up
	var switches, rss float64
	for b.Loop() {
		before := contextSwitches(b, cmd.Process.Pid)
		time.Sleep(idleTime)
		switches += float64(contextSwitches(b, cmd.Process.Pid) - before)
		rss = statusField(b, fmt.Sprintf("/proc/%d/status", cmd.Process.Pid), "VmRSS:") / 1000
	}
	b.ReportMetric(rss, "MB-RSS")
	b.ReportMetric(9, "goal-MB-RSS")
	b.ReportMetric(switches/float64(b.N)*float64(time.Minute/idleTime), "switches/min")
	b.ReportMetric(20, "goal-switches/min")
	b.Log("limit: the Go heap after a pass; the program's own pages are given back to the page cache")
}

// contextSwitches counts those of all threads (proc(5), /proc/PID/status).
func contextSwitches(b *testing.B, pid int) int {
	b.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(tasks) == 0 {
		b.Fatalf("no threads of process %d: %v", pid, err)
	}
	sum := 0.0
	for _, task := range tasks {
		sum += statusField(b, task, "voluntary_ctxt_switches:") + statusField(b, task, "nonvoluntary_ctxt_switches:")
	}
	return int(sum)
}

func statusField(b *testing.B, file, name string) float64 {
	b.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == name {
			value, err := strconv.ParseFloat(fields[1], 64)
			if err != nil {
				b.Fatal(err)
			}
			return value
		}
	}
	b.Fatalf("%s has no %s", file, name)
	return 0
}
