package bench

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
	"github.com/latchkey-ssh/latchkey/sshd/target"
)

// clientConfig is the one client that all servers see.
func (p *peers) clientConfig(at peer) *ssh.ClientConfig {
	return &ssh.ClientConfig{
		User: at.user, Auth: []ssh.AuthMethod{ssh.PublicKeys(p.client.Signer)},
		HostKeyCallback:   ssh.FixedHostKey(p.host.Signer.PublicKey()),
		HostKeyAlgorithms: []string{ssh.KeyAlgoED25519},
	}
}

// pinned has every server use the same algorithms.
func pinned(config *ssh.ClientConfig) *ssh.ClientConfig {
	config.KeyExchanges, config.Ciphers = []string{ssh.KeyExchangeCurve25519}, []string{ssh.CipherAES128GCM}
	return config
}

// login dials, exchanges keys and logs in; then it leaves.
func login(at peer, config *ssh.ClientConfig) (time.Duration, error) {
	start := time.Now()
	client, err := ssh.Dial("tcp", at.address, config)
	if err != nil {
		return 0, fmt.Errorf("log in to %s: %w", at.name, err)
	}
	took := time.Since(start)
	_ = client.Close()
	return took, nil
}

func handshake(b *testing.B, at peer, config *ssh.ClientConfig) time.Duration {
	b.Helper()
	took, err := login(at, config)
	if err != nil {
		b.Fatal(err)
	}
	return took
}

// goRounds is how often the servers in Go are asked for each time that the slower ones are: what is compared within
// a few per cent needs more samples.
const goRounds = 20

// BenchmarkTargetHandshake is one client at a time, to all servers in turn: dial, key exchange, login by a key. The
// algorithms are the same for all, and for the figures called default each pair's own choice: mlkem768x25519-sha256 between
// two programs in Go, else curve25519-sha256. The cipher is AES-128-GCM in any case, the host key ed25519.
func BenchmarkTargetHandshake(b *testing.B) {
	p := startPeers(b, peerNames...)
	same, own := map[string][]time.Duration{}, map[string][]time.Duration{}
	for b.Loop() {
		for i := range goRounds {
			for j := range p.all {
				at := p.all[(i+j)%len(p.all)] // each in turn after each of the others
				slow := at.name == openSSH || at.name == asyncSSH
				if i == 0 || !slow {
					same[at.name] = append(same[at.name], handshake(b, at, pinned(p.clientConfig(at))))
				}
				if i == 0 || !slow && i%4 == 0 {
					own[at.name] = append(own[at.name], handshake(b, at, p.clientConfig(at)))
				}
			}
		}
	}
	reportMedians(b, p, same, "ms-p50/")
	reportMedians(b, p, own, "ms-p50-default/")
	b.ReportMetric(float64(percentile(same[ours], 50))/float64(percentile(same[raw], 50)), "x-"+raw)
	b.ReportMetric(1.05, "goal-x-"+raw)
	b.Log("limit: the key agreement and two signatures, of which the server makes and checks one each; the keys file, read twice")
}

func reportMedians(b *testing.B, p *peers, took map[string][]time.Duration, unit string) {
	b.Helper()
	for _, at := range p.all {
		b.ReportMetric(milliseconds(percentile(took[at.name], 50)), unit+at.name)
	}
}

const (
	clientsAtOnce = 8
	loginWindow   = 250 * time.Millisecond
)

// BenchmarkTargetLogins is how many logins a second eight clients get that do nothing else.
func BenchmarkTargetLogins(b *testing.B) {
	p := startPeers(b, peerNames...)
	rates := map[string]float64{}
	for b.Loop() {
		for _, at := range p.all {
			rates[at.name] += p.loginRate(b, at)
		}
	}
	for _, at := range p.all {
		b.ReportMetric(rates[at.name]/float64(b.N), "logins/s/"+at.name)
	}
	b.ReportMetric(rates[ours]/rates[openSSH], "x-"+openSSH)
	b.ReportMetric(15, "goal-x-"+openSSH)
	b.ReportMetric(rates[ours]/rates[asyncSSH], "x-"+asyncSSH)
	b.ReportMetric(3, "goal-x-"+asyncSSH)
	b.Log("limit: the clients, which share the cores with the server")
}

// loginRate is the logins a second at one server.
func (p *peers) loginRate(b *testing.B, at peer) float64 {
	b.Helper()
	config := pinned(p.clientConfig(at))
	var logins atomic.Int64
	var clients sync.WaitGroup
	start := time.Now()
	for range clientsAtOnce {
		clients.Go(func() {
			for time.Since(start) < loginWindow {
				if _, err := login(at, config); err != nil {
					b.Error(err)
					return
				}
				logins.Add(1)
			}
		})
	}
	clients.Wait()
	return float64(logins.Load()) / time.Since(start).Seconds()
}

// BenchmarkTargetSSHTrue is what a person waits for: OpenSSH's client, from its start to its end. The key exchange is the
// same for all; for the one that only sshd has, sntrup761x25519-sha512, the client alone computes for longer than all this takes.
func BenchmarkTargetSSHTrue(b *testing.B) {
	p := startPeers(b, peerNames...)
	took := map[string][]time.Duration{}
	for b.Loop() {
		for _, at := range p.all {
			cmd := p.openSSHClient(b, at, "true")
			start := time.Now()
			if out, err := cmd.CombinedOutput(); err != nil {
				b.Fatalf("ssh to %s: %v\n%s", at.name, err, out)
			}
			took[at.name] = append(took[at.name], time.Since(start))
		}
	}
	reportMedians(b, p, took, "ms-p50/")
	b.ReportMetric(float64(percentile(took[ours], 50))/float64(percentile(took[asyncSSH], 50)), "x-"+asyncSSH)
	b.ReportMetric(1, "goal-x-"+asyncSSH)
	b.Log("limit: the client's own start; of the others, a stall of 40 ms or two, while the client's packet waits for an acknowledgement")
}

func (p *peers) openSSHClient(b *testing.B, at peer, command string) *exec.Cmd {
	b.Helper()
	known := filepath.Join(filepath.Dir(p.keysFile), "known_"+at.name)
	line := knownhosts.Line([]string{at.address}, p.host.Signer.PublicKey())
	if err := os.WriteFile(known, []byte(line+"\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	host, port, err := net.SplitHostPort(at.address)
	if err != nil {
		b.Fatal(err)
	}
	return exec.Command(testmachine.RequireProgram(b, "ssh"),
		"-F", "none", "-p", port, "-l", at.user, "-i", p.client.PEM,
		"-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none",
		"-o", "UserKnownHostsFile="+known, "-o", "GlobalKnownHostsFile=none", "-o", "StrictHostKeyChecking=yes",
		"-o", "KexAlgorithms="+ssh.KeyExchangeCurve25519, host, command)
}

// BenchmarkTargetStart is from nothing to a server that listens, in a test's own process.
func BenchmarkTargetStart(b *testing.B) {
	key := testmachine.NewKey(b, "ed25519")
	start := time.Now()
	for b.Loop() {
		server, err := target.New(target.WithAuthorizedKeys(key.Line))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := server.Listen("127.0.0.1:0"); err != nil {
			b.Fatal(err)
		}
		if err := server.Close(); err != nil {
			b.Fatal(err)
		}
	}
	report(b, time.Since(start), "ms/start", 5)
	b.Log("limit: a new host key")
}

// BenchmarkTargetProgram is latchkey-sshd: how soon it listens, and what it takes to hold connections.
func BenchmarkTargetProgram(b *testing.B) {
	program := buildProgram(b, "../cmd/latchkey-sshd")
	b.Run("start", func(b *testing.B) { benchmarkProgramStart(b, program) })
	b.Run("held", func(b *testing.B) { benchmarkHeld(b, program) })
}

// startProgram starts latchkey-sshd and returns it once it listens.
func (p *peers) startProgram(b *testing.B, program string) (*exec.Cmd, peer, time.Duration) {
	b.Helper()
	cmd := exec.Command(program, "--host-key", p.host.PEM, "--authorized-keys", p.keysFile)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	took := time.Since(start)
	if err != nil {
		b.Fatalf("latchkey-sshd did not start: %v", err)
	}
	var said struct{ Address string }
	if err := json.Unmarshal(line, &said); err != nil {
		b.Fatal(err)
	}
	return cmd, peer{name: "latchkey-sshd", address: said.Address, user: user, pid: cmd.Process.Pid}, took
}

func benchmarkProgramStart(b *testing.B, program string) {
	p := startPeers(b)
	var all []time.Duration
	for b.Loop() {
		cmd, _, took := p.startProgram(b, program)
		stop(b, cmd)
		all = append(all, took)
	}
	b.ReportMetric(milliseconds(percentile(all, 50)), "ms-p50/start")
	b.ReportMetric(5, "goal-ms-p50/start")
	b.Log("limit: fork and exec; the start of the Go runtime and of the packages")
}

// held is how many connections are held that do nothing.
const held = 1000

// benchmarkHeld is the memory of a server whose clients have logged in and do nothing, and what one of them takes: with the
// garbage of the logins, and of the program once it has given that back.
func benchmarkHeld(b *testing.B, program string) {
	for b.Loop() {
		p := startPeers(b, raw)
		cmd, at, _ := p.startProgram(b, program)
		ours, ourClients := p.measureHeld(b, at)
		_, rawClients := p.measureHeld(b, p.all[0]) // while the other is quiet
		b.ReportMetric(ours, "MB-RSS/logged-in")
		b.ReportMetric(quietMB(b, at, ours), "MB-RSS/held")
		for _, client := range slices.Concat(ourClients, rawClients) {
			_ = client.Close()
		}
		stop(b, cmd)
	}
	b.ReportMetric(45, "goal-MB-RSS/held")
	b.Log("held is measured once it has been quiet for a second; limit: of each connection, the five goroutines and two buffers that raw x/crypto has too")
}

// measureHeld is the memory of a server, in MB, when all clients have just logged in.
func (p *peers) measureHeld(b *testing.B, at peer) (float64, []*ssh.Client) {
	b.Helper()
	before := residentMB(b, at)
	clients := p.hold(b, at)
	after := residentMB(b, at)
	b.ReportMetric((after-before)*1000/held, "KB-each/"+at.name)
	return after, clients
}

// quietMB is the memory that a server holds when it has given back, since it was quiet, what it held at first; or holds still
// after five seconds.
func quietMB(b *testing.B, at peer, first float64) float64 {
	b.Helper()
	now := first
	for deadline := time.Now().Add(5 * time.Second); now > 0.95*first && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		now = residentMB(b, at)
	}
	return min(now, residentMB(b, at)) // it is not done with the first pages
}

func residentMB(b *testing.B, at peer) float64 {
	b.Helper()
	return statusField(b, fmt.Sprintf("/proc/%d/status", at.pid), "VmRSS:") / 1000
}

// hold logs in as often as held says.
func (p *peers) hold(b *testing.B, at peer) []*ssh.Client {
	b.Helper()
	config := pinned(p.clientConfig(at))
	clients := make([]*ssh.Client, held)
	var dialling sync.WaitGroup
	for i := range clientsAtOnce {
		dialling.Go(func() {
			for j := i; j < held; j += clientsAtOnce {
				client, err := ssh.Dial("tcp", at.address, config)
				if err != nil {
					b.Errorf("log in %d times: %v", held, err)
					return
				}
				clients[j] = client
			}
		})
	}
	dialling.Wait()
	if b.Failed() {
		b.FailNow()
	}
	return clients
}
