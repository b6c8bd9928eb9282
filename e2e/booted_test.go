package e2e

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
	"github.com/latchkey-ssh/latchkey/keypair/imds"
)

const (
	testUser   = "ecs-user"
	testConfig = "/etc/latchkey/e2e.toml"
	// bootTimeout bounds a boot, which takes about a second.
	bootTimeout = 30 * time.Second
)

// booted is a Debian that runs, with a metadata endpoint on its loopback.
type booted struct {
	*testmachine.Machine
	t        *testing.T
	leader   string // the process id of its systemd
	endpoint *imds.Endpoint
}

// boot starts a Debian. before changes its files while it is off. Tests that
// boot do not run in parallel: the systems would share one control group.
func boot(t *testing.T, before func(*testmachine.Machine)) *booted {
	t.Helper()
	testmachine.RequireProgram(t, "systemd-nspawn")
	testmachine.RequireProgram(t, "nsenter")
	b := &booted{Machine: testmachine.NewDebian(t, "bookworm"), t: t}
	b.AddUser(testUser, "correct horse")
	b.WriteFile("/usr/local/bin/latchkey", program(t), 0o755)
	if before != nil {
		before(b.Machine)
	}
	b.start()
	b.serveEndpoint()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("journal:\n%s", b.run("journalctl", "-o", "cat"))
		}
	})
	return b
}

// program is the latchkey program, static, so that it runs on any release.
var program = func() func(t *testing.T) string {
	build := sync.OnceValues(func() ([]byte, error) {
		dir, err := os.MkdirTemp("", "latchkey-e2e-")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		file := filepath.Join(dir, "latchkey")
		build := exec.Command("go", "build", "-o", file, "../cmd/latchkey")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build latchkey: %w\n%s", err, out)
		}
		return os.ReadFile(file)
	})
	return func(t *testing.T) string {
		t.Helper()
		data, err := build()
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
}()

// start boots the machine in a network of its own and waits until its systemd
// has started everything.
func (b *booted) start() {
	b.t.Helper()
	for _, made := range []string{"/dev/pts", "/dev", "/proc"} { // systemd-nspawn makes its own
		if err := unix.Unmount(b.Path(made), unix.MNT_DETACH); err != nil {
			b.t.Fatalf("unmount %s: %v", made, err)
		}
	}
	name := "latchkey-" + strconv.Itoa(b.Port)
	nspawn := exec.Command("systemd-nspawn", "--quiet", "--directory", b.Root, "--machine", name,
		"--private-network", "--register=no", "--keep-unit", "--console=pipe", "--boot")
	nspawn.Env = append(os.Environ(), "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1")
	var console bytes.Buffer
	nspawn.Stdout, nspawn.Stderr = &console, &console
	nspawn.WaitDelay = time.Second
	pid, ended, err := startOnThread(nspawn)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		powerCut(pid, ended)
		if b.t.Failed() {
			b.t.Logf("console:\n%s", console.String())
		}
	})
	await(b.t, "systemd has started", func() bool {
		if hasEnded(ended) {
			b.t.Fatal("systemd-nspawn ended at once")
		}
		b.leader = payload(pid)
		if b.leader == "" {
			return false
		}
		out, err := b.inside("systemctl", "is-system-running").CombinedOutput()
		state := strings.TrimSpace(string(out))
		return state == "running" || (err != nil && state == "degraded")
	})
}

// startOnThread starts a command that ends with this process, on a thread kept
// for it: the kernel sends the signal when the thread ends that forked.
func startOnThread(cmd *exec.Cmd) (pid int, ended chan struct{}, err error) {
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	ended = make(chan struct{})
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(ended)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is on the console
		}
	}()
	if err := <-started; err != nil {
		return 0, ended, err
	}
	return cmd.Process.Pid, ended, nil
}

// payload is the process id of the init that systemd-nspawn runs, "" as long as
// there is none.
func payload(nspawn int) string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", nspawn, nspawn))
	if err != nil {
		return ""
	}
	for _, child := range strings.Fields(string(data)) {
		if name, err := os.ReadFile("/proc/" + child + "/comm"); err == nil && strings.TrimSpace(string(name)) == "systemd" {
			return child
		}
	}
	return ""
}

// powerCut ends the payload, and with it systemd-nspawn.
func powerCut(nspawn int, ended chan struct{}) {
	if hasEnded(ended) {
		return
	}
	if leader, err := strconv.Atoi(payload(nspawn)); err == nil {
		_ = unix.Kill(leader, unix.SIGKILL)
	} else {
		_ = unix.Kill(nspawn, unix.SIGKILL)
	}
	<-ended
}

func hasEnded(ended chan struct{}) bool {
	select {
	case <-ended:
		return true
	default:
		return false
	}
}

// inside is a command that runs in the booted system.
func (b *booted) inside(args ...string) *exec.Cmd {
	enter := []string{"-t", b.leader, "-m", "-u", "-i", "-n", "-p", "-r", "-w"}
	cmd := exec.Command("nsenter", append(enter, args...)...)
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/root"}
	return cmd
}

// run runs a command in the booted system to its end.
func (b *booted) run(args ...string) string {
	b.t.Helper()
	out, err := b.inside(args...).CombinedOutput()
	if err != nil {
		b.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// ssh is OpenSSH's client, run in the booted system's network.
func (b *booted) ssh(options []string, command ...string) *exec.Cmd {
	cmd := b.OpenSSH(b.t, testUser, options, command...)
	cmd.Args = slices.Concat([]string{"nsenter", "-t", b.leader, "-n"}, cmd.Args)
	cmd.Path = testmachine.RequireProgram(b.t, "nsenter")
	return cmd
}

// offers is what sshd says it offers to a client that has nothing.
func (b *booted) offers() string {
	b.t.Helper()
	out, err := b.ssh([]string{"-o", "PubkeyAuthentication=no"}, "true").CombinedOutput()
	_, list, found := strings.Cut(string(out), "Permission denied (")
	if err == nil || !found {
		b.t.Fatalf("ask for the methods: %v\n%s", err, out)
	}
	list, _, _ = strings.Cut(list, ")")
	return list
}

// wantLogon logs in with the key.
func (b *booted) wantLogon(key testmachine.Key) {
	b.t.Helper()
	if out, err := b.ssh([]string{"-i", key.PEM}, "true").CombinedOutput(); err != nil {
		b.t.Errorf("logon with the key: %v\n%s", err, out)
	}
}

// serveEndpoint serves a metadata endpoint on the booted system's loopback, and
// writes a configuration that names it.
func (b *booted) serveEndpoint() {
	b.t.Helper()
	listener, err := listenIn(b.leader)
	if err != nil {
		b.t.Fatal(err)
	}
	b.endpoint = imds.New(imds.Instance{ID: "i-e2e"})
	server := &http.Server{Handler: b.endpoint, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener) // until it is closed
	}()
	b.t.Cleanup(func() {
		_ = server.Close()
		<-served
	})
	b.WriteFile(testConfig, fmt.Sprintf("[metadata]\nendpoint = \"http://%s\"\n[login]\nuser = %q\n", listener.Addr(), testUser), 0o644)
}

// listenIn listens on the loopback of the network that a process is in.
func listenIn(pid string) (listener net.Listener, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends in that network
		var network *os.File
		if network, err = os.Open("/proc/" + pid + "/ns/net"); err != nil {
			return
		}
		defer network.Close()
		if err = unix.Setns(int(network.Fd()), unix.CLONE_NEWNET); err == nil {
			listener, err = net.Listen("tcp", "127.0.0.1:0")
		}
	}()
	<-done
	return listener, err
}

// await polls until something holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(bootTimeout)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
		<-tick.C
	}
}
