package target

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// keyring is an agent with one key, whose comment is "in the agent".
func keyring(t *testing.T) agent.Agent {
	t.Helper()
	text, err := os.ReadFile(newKey(t).PEM)
	if err != nil {
		t.Fatal(err)
	}
	private, err := ssh.ParseRawPrivateKey(text)
	if err != nil {
		t.Fatal(err)
	}
	ring := agent.NewKeyring()
	if err := ring.Add(agent.AddedKey{PrivateKey: private, Comment: "in the agent"}); err != nil {
		t.Fatal(err)
	}
	return ring
}

// listKeys is what a session's program does with the agent.
func listKeys(s *Session) string {
	conn, err := net.Dial("unix", s.Agent)
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	keys, err := agent.NewClient(conn).List()
	if err != nil {
		return err.Error()
	}
	var comments []string
	for _, key := range keys {
		comments = append(comments, key.Comment)
	}
	return strings.Join(comments, ",")
}

func TestASessionReachesTheClientsAgent(t *testing.T) {
	folder := make(chan string, 1)
	s := Start(t, WithRun(func(_ context.Context, s *Session) int {
		folder <- filepath.Dir(s.Agent)
		if s.Getenv("SSH_AUTH_SOCK") != s.Agent {
			fmt.Fprintln(s.Stderr, "SSH_AUTH_SOCK is", s.Getenv("SSH_AUTH_SOCK"))
		}
		info, err := os.Stat(filepath.Dir(s.Agent))
		if err != nil || info.Mode().Perm() != 0o700 {
			fmt.Fprintln(s.Stderr, "folder:", info.Mode(), err)
		}
		var all sync.WaitGroup
		found := make([]string, 3*maxAgentConnections)
		for i := range found {
			all.Go(func() { found[i] = listKeys(s) })
		}
		all.Wait()
		for _, comment := range found {
			if comment != "in the agent" {
				fmt.Fprintln(s.Stderr, comment)
			}
		}
		return 0
	}))
	client := connect(t, s)
	if err := agent.ForwardToAgent(client, keyring(t)); err != nil {
		t.Fatal(err)
	}
	d := newDialog(t, client)
	if got := forwardAgent(d) + forwardAgent(d) + execute("x")(d); got != "yesnoexit 0" {
		t.Error(got)
	}
	gone := <-folder
	await(t, "the end of "+gone, func() bool { _, err := os.Stat(gone); return os.IsNotExist(err) })
}

func TestTheAgentIsOnlyForThoseWhoAskedForIt(t *testing.T) {
	opened := make(chan string, 10)
	s := Start(t, WithRun(func(_ context.Context, s *Session) int {
		fmt.Fprintf(s.Stdout, "%q %q\n", s.Agent, s.Getenv("SSH_AUTH_SOCK"))
		return 0
	}))
	client := connect(t, s)
	channels := client.HandleChannelOpen("auth-agent@openssh.com")
	go func() {
		for channel := range channels {
			opened <- channel.ChannelType()
			_ = channel.Reject(ssh.Prohibited, "")
		}
	}()
	if got := execute("x")(newDialog(t, client)); got != "\"\" \"\"\nexit 0" {
		t.Error(got)
	}
	if len(opened) > 0 {
		t.Error("the agent was asked")
	}
}

func TestTheAgentsSocketGoesWithAConnectionThatIsCut(t *testing.T) {
	s := Start(t)
	client := connect(t, s)
	if err := agent.ForwardToAgent(client, keyring(t)); err != nil {
		t.Fatal(err)
	}
	d := newDialog(t, client)
	forwardAgent(d)
	d.exec("echo $SSH_AUTH_SOCK; exec sleep 1000")
	d.wait("\n")
	socket := strings.TrimSpace(d.out.String())
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = client.Close()
	await(t, "the end of "+socket, func() bool { _, err := os.Stat(filepath.Dir(socket)); return os.IsNotExist(err) })
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("somebody answers")
	}
}

// agentProcess serves an agent at a socket, for OpenSSH's client.
func agentProcess(t *testing.T, ring agent.Agent) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "agent")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				_ = agent.ServeAgent(ring, conn)
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); serving.Wait() })
	return socket
}

func TestOpenSSHsAgentIsForwarded(t *testing.T) {
	program := testmachine.RequireProgram(t, "ssh")
	testmachine.RequireProgram(t, "ssh-add")
	key, dir := newKey(t), t.TempDir()
	s := Start(t, WithAuthorizedKeys(key.Line))
	known := filepath.Join(dir, "known_hosts")
	if err := os.WriteFile(known, []byte(s.KnownHosts()), 0o600); err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for flag, want := range map[string]string{"-A": "in the agent", "-a": "not open a connection"} {
		cmd := exec.Command(program, "-F", "none", "-i", key.PEM, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
			"-o", "UserKnownHostsFile="+known, flag, "-p", port, "alice@"+host, "ssh-add -l")
		cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + dir, "SSH_AUTH_SOCK=" + agentProcess(t, keyring(t))}
		if out, _ := cmd.CombinedOutput(); !strings.Contains(string(out), want) {
			t.Errorf("ssh %s: %s", flag, out)
		}
	}
}
