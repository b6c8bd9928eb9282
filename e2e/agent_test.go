package e2e

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/agent"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
	"github.com/latchkey-ssh/latchkey/keypair/imds"
)

// Units of the instance.
const (
	agentUnit = "latchkeyd.service"
	sshUnit   = "ssh.service"
)

// exitUsage is with what latchkeyd ends that cannot use its configuration.
const exitUsage = "64"

// onlooker is a session that was open before something happened to the agent.
type onlooker struct {
	*instance
	key          testmachine.Key
	agent, sshd  string // the main processes then
	said         string
	leaveSession func() string
}

// lookOn opens a session.
func (i *instance) lookOn(key testmachine.Key) *onlooker {
	i.t.Helper()
	o := &onlooker{instance: i, key: key, agent: i.property(agentUnit, "MainPID"), sshd: i.property(sshUnit, "MainPID")}
	o.said, o.leaveSession = i.session(key)
	return o
}

// signalAgent sends a signal to the agent's main process.
func (o *onlooker) signalAgent(signal string) {
	o.t.Helper()
	o.run("systemctl", "kill", "--kill-whom=main", "--signal="+signal, agentUnit)
}

// wantAnotherAgent waits until systemd has started the agent again.
func (o *onlooker) wantAnotherAgent() {
	o.t.Helper()
	o.await("the agent is back", func() bool {
		return o.property(agentUnit, "NRestarts") != "0" && o.property(agentUnit, "ActiveState") == "active"
	})
	if got := o.property(agentUnit, "NRestarts"); got != "1" || o.property(agentUnit, "MainPID") == o.agent {
		o.t.Errorf("systemd has restarted the agent %s times, want once", got)
	}
}

// wantUndisturbed checks that what came over the agent has reached nobody else.
func (o *onlooker) wantUndisturbed() {
	o.t.Helper()
	o.wantBound("root", o.key)
	if now := o.property(sshUnit, "MainPID"); now != o.sshd {
		o.t.Errorf("sshd was restarted: process %s, then %s", o.sshd, now)
	}
	if log := o.run("journalctl", "-u", sshUnit, "-o", "cat"); strings.Contains(log, "Reload") {
		o.t.Errorf("sshd was reloaded:\n%s", log)
	}
	if rest := o.leaveSession(); rest != "heard you\n" || o.said != "begun\n" {
		o.t.Errorf("the session said %q and at the end %q", o.said, rest)
	}
}

func TestAKilledAgentIsStartedAgainAndNobodyNotices(t *testing.T) {
	i, key := bootBound(t)
	o := i.lookOn(key)
	o.signalAgent("KILL")
	o.wantIn("root", byKey(key)) // also while there is none
	o.wantOut("root", byPassword(secret))
	o.wantAnotherAgent()
	o.wantUndisturbed()
}

func TestAHungAgentIsEndedByTheWatchdogAndStartedAgain(t *testing.T) {
	var key testmachine.Key
	i := boot(t, func(i *instance) {
		i.WriteFile("/etc/systemd/system/"+agentUnit+".d/50-impatient.conf", "[Service]\nWatchdogSec=2s\n", 0o644)
		key = i.endpoint.bindNew("first")
	})
	o := i.lookOn(key)
	o.signalAgent("STOP")
	o.wantAnotherAgent()
	if log := o.run("journalctl", "-u", agentUnit, "-o", "cat"); !strings.Contains(log, "Watchdog timeout") {
		t.Errorf("it was not the watchdog:\n%s", log)
	}
	o.wantUndisturbed()
}

func TestWithoutItsAgentTheInstanceStaysAsItIs(t *testing.T) {
	i, key := bootBound(t)
	o := i.lookOn(key)
	i.run("systemctl", "stop", agentUnit)
	o.wantUndisturbed()
	if pid := i.status().PID; pid != 0 {
		t.Errorf("status says that the agent is process %d", pid)
	}
	if text := i.run("latchkey", "status"); !strings.Contains(text, "not running") {
		t.Errorf("status does not say that no agent runs:\n%s", text)
	}
	if check := i.diagnose()["agent"]; check.Result != agent.Fail {
		t.Errorf("doctor says of the agent: %+v", check)
	}
}

// diagnose is what `latchkey doctor` says of each thing, by its name.
func (i *instance) diagnose() map[string]agent.Check {
	i.t.Helper()
	text, runErr := i.inside("latchkey", "doctor", "--json").Output() // fails if it finds something
	var all struct {
		Checks []agent.Check `json:"checks"`
	}
	if err := json.Unmarshal(text, &all); err != nil {
		i.t.Fatalf("read what doctor says: %v (%v)\n%s", err, runErr, text)
	}
	checks := make(map[string]agent.Check)
	for _, check := range all.Checks {
		checks[check.Name] = check
	}
	return checks
}

func TestARestartOfTheAgentIsNoRestartOfTheInstance(t *testing.T) {
	i, old := bootBound(t)
	key := i.endpoint.bindNew("second")
	i.run("systemctl", "restart", agentUnit)
	i.wantIn("root", byKey(old))
	i.wantOut("root", byKey(key), byPassword(secret))
	if i.status().Pending == nil {
		t.Error("status shows nothing as pending")
	}
}

// bootAsking returns an instance that boots, with a key bound, and whose agent
// waits for an endpoint that takes its time.
func bootAsking(t *testing.T) (*instance, testmachine.Key) {
	t.Helper()
	i := newInstance(t)
	i.installInImage(deb(t, currentVersion))
	key := i.endpoint.bindNew("first")
	i.endpoint.Misbehave(imds.Timeout)
	i.switchOn()
	i.awaitQuestion()
	return i, key
}

// awaitQuestion waits until the endpoint is asked once more.
func (i *instance) awaitQuestion() {
	i.t.Helper()
	asked := i.endpoint.asked.Load()
	i.await("the endpoint is asked", func() bool { return i.endpoint.asked.Load() > asked })
}

// askers are the processes that ask the network for the agent, however they were
// started.
func (i *instance) askers() []process {
	i.t.Helper()
	return append(i.processes(networkSide), i.processes([]string{"latchkeyd", "network"})...)
}

// killAskers ends all askers, of which there is one at least.
func (i *instance) killAskers() {
	i.t.Helper()
	found := i.askers()
	if len(found) == 0 {
		i.t.Fatal("nobody asks the network")
	}
	for _, p := range found {
		pid, err := strconv.Atoi(string(p))
		if err != nil {
			i.t.Fatal(err)
		}
		_ = unix.Kill(pid, unix.SIGKILL) // gone already is as good
	}
}

func TestTheAgentSurvivesItsNetworkProcess(t *testing.T) {
	i, key := bootAsking(t)
	before := i.property(agentUnit, "MainPID")
	i.killAskers()
	i.awaitQuestion() // by another
	i.killAskers()
	i.endpoint.Misbehave(imds.None)
	i.awaitStarted()
	i.await("the key is in force", func() bool { return i.status().Password == "off" })
	i.wantBound("root", key)
	if after := i.property(agentUnit, "MainPID"); after != before || i.property(agentUnit, "NRestarts") != "0" {
		t.Errorf("the agent was process %s and is %s", before, after)
	}
}

// TestAKilledNetworkProcessIsFollowedByOneAsConfined: what a stranger sent may be
// what it died of, and is not to be read by a process that sees more.
func TestAKilledNetworkProcessIsFollowedByOneAsConfined(t *testing.T) {
	i, _ := bootAsking(t)
	i.killAskers()
	i.awaitQuestion()
	for _, p := range i.askers() {
		groups, err := os.ReadFile(p.path("cgroup"))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(groups), "/latchkey-network@") {
			t.Errorf("not of a unit latchkey-network@, but of\n%s", groups)
		}
	}
}

func TestAWrongConfigurationStopsTheAgentAloneUntilItIsMended(t *testing.T) {
	const wrong = "/etc/latchkey/latchkey.toml.d/50-wrong.toml"
	i, old := bootBound(t)
	i.shutDown()
	key := i.endpoint.bindNew("second")
	i.WriteFile(wrong, "[login]\nusre = \"root\"\n", 0o644)
	i.switchOn()
	i.await("the boot is over", func() bool {
		out, _ := i.inside("systemctl", "is-system-running").Output() // fails unless all runs
		return strings.TrimSpace(string(out)) == "degraded"
	})
	i.wantIn("root", byKey(old)) // last known good
	i.wantOut("root", byKey(key), byPassword(secret))
	i.wantGivenUp()
	if log := i.run("journalctl", "-b", "-u", agentUnit, "-o", "cat"); !strings.Contains(log, wrong+`:2: unknown key "login.usre"`) {
		t.Errorf("the journal does not tell what is wrong:\n%s", log)
	}

	i.run("rm", wrong)
	i.run("systemctl", "start", agentUnit)
	i.wantBound("root", key)
	i.wantOut("root", byKey(old))
}

// wantGivenUp checks that the agent has failed once and is not tried again: a
// unit that is to be restarted is "activating" meanwhile.
func (i *instance) wantGivenUp() {
	i.t.Helper()
	for name, want := range map[string]string{
		"ActiveState": "failed", "SubState": "failed", "ExecMainStatus": exitUsage, "NRestarts": "0",
	} {
		if got := i.property(agentUnit, name); got != want {
			i.t.Errorf("%s of %s: %s, want %s", name, agentUnit, got, want)
		}
	}
}
