package target

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"
	"pgregory.net/rapid"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

func TestAFaultIsReadAsItIsWritten(t *testing.T) {
	moment := rapid.SampledFrom(moments)
	rapid.Check(t, func(t *rapid.T) {
		fault := rapid.OneOf(
			rapid.Custom(func(t *rapid.T) Fault {
				return Slow(moment.Draw(t, "moment"), time.Duration(rapid.Int64Min(0).Draw(t, "delay")))
			}),
			rapid.Map(moment, Silent),
			rapid.Map(moment, Disconnect),
			rapid.Map(rapid.Int64(), DropAfter),
			rapid.SampledFrom([]Fault{RefuseSignature(), ChangeHostKey(), ExhaustAuthTries(), OldAlgorithms()}),
		).Draw(t, "fault")
		got, err := ParseFault(fault.String())
		if err != nil || got != fault {
			t.Fatalf("%s is read as %s, %v", fault, got, err)
		}
	})
}

func TestParseFaultTakesNothingElse(t *testing.T) {
	for text, want := range map[string]Fault{
		"slow:auth:200ms": Slow(AtAuth, 200*time.Millisecond), "silent:kex": Silent(AtKeyExchange),
		"drop:4096": DropAfter(4096), "disconnect:command": Disconnect(AtCommand), "max-auth-tries": ExhaustAuthTries(),
	} {
		if got, err := ParseFault(text); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", "slow", "slow:auth", "slow:auth:x", "slow:auth:-1s", "slow:never:1s", "silent", "silent:", "silent:now", "silent:kex:1s",
		"drop", "drop:-1", "drop:x", "disconnect", "refuse-signature:1", "old-algorithms:", "explode",
	} {
		if got, err := ParseFault(text); err == nil {
			t.Errorf("%q is read as %s", text, got)
		}
	}
}

// use logs in to s and runs a command: it goes past every moment.
func use(s *Server) error {
	client, err := ssh.Dial("tcp", s.Addr().String(), s.ClientConfig("alice"))
	if err != nil {
		return err
	}
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		return err
	}
	return session.Run("true")
}

// misbehaves starts a server that runs no command for real.
func misbehaves(t *testing.T, opts ...Option) *Server {
	t.Helper()
	return Start(t, append(opts, WithRun(func(context.Context, *Session) int { return 0 }))...)
}

func TestASlowServerIsLateByTheTimeGiven(t *testing.T) {
	const late = 60 * time.Millisecond
	for _, at := range moments {
		t.Run(string(at), func(t *testing.T) {
			s := misbehaves(t, WithFault(Slow(at, late)))
			began := time.Now()
			if err := use(s); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took < late {
				t.Errorf("took %v", took)
			}
			if got := eventOf(t, s, Misbehaved).Reason; got != fmt.Sprintf("slow:%s:60ms", at) {
				t.Errorf("told: %s", got)
			}
		})
	}
}

func TestASilentServerSaysNoMoreAndEndsWithItsClient(t *testing.T) {
	for _, at := range moments {
		t.Run(string(at), func(t *testing.T) {
			s := misbehaves(t, WithFault(Silent(at)))
			conn := dial(t, s.Addr().String())
			ended := make(chan error, 1)
			go func() { ended <- useConn(conn, s) }()
			if got := eventOf(t, s, Misbehaved).Reason; got != "silent:"+string(at) {
				t.Errorf("told: %s", got)
			}
			select {
			case err := <-ended:
				t.Fatalf("the client got an answer: %v", err)
			default:
			}
			_ = conn.Close()
			if err := <-ended; err == nil {
				t.Error("the client got an answer")
			}
			eventOf(t, s, Disconnected)
		})
	}
}

// useConn is use, on a connection that there is.
func useConn(conn net.Conn, s *Server) error {
	c, channels, requests, err := ssh.NewClientConn(conn, "", s.ClientConfig("alice"))
	if err != nil {
		return err
	}
	client := ssh.NewClient(c, channels, requests)
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		return err
	}
	return session.Run("true")
}

func TestLoginGraceTimeEndsASilentServersConnection(t *testing.T) {
	for _, at := range []Moment{AtVersion, AtKeyExchange, AtKeyReply, AtAuth, AtQuery, AtSignature} {
		t.Run(string(at), func(t *testing.T) {
			t.Parallel()
			s := misbehaves(t, WithFault(Silent(at)), WithSettings("LoginGraceTime 1"))
			if err := use(s); err == nil {
				t.Error("logged in")
			}
			if got := eventOf(t, s, Disconnected).Reason; !strings.HasPrefix(got, "LoginGraceTime") {
				t.Errorf("reason: %s", got)
			}
		})
	}
}

func TestCloseEndsASilentServersConnection(t *testing.T) {
	for _, at := range moments {
		s := misbehaves(t, WithFault(Silent(at)))
		ended := make(chan error, 1)
		go func() { ended <- use(s) }()
		eventOf(t, s, Misbehaved)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err == nil {
			t.Errorf("%s: the client got an answer", at)
		}
	}
}

func TestTheConnectionIsDroppedAtTheMoment(t *testing.T) {
	for _, at := range moments {
		t.Run(string(at), func(t *testing.T) {
			s := misbehaves(t, WithFault(Disconnect(at)))
			if err := use(s); err == nil {
				t.Error("the client got an answer")
			}
			if got := eventOf(t, s, Disconnected).Reason; got != "fault disconnect:"+string(at) {
				t.Errorf("reason: %s", got)
			}
		})
	}
}

func setFaults(t *testing.T, s *Server, faults ...Fault) {
	t.Helper()
	if err := s.SetFaults(faults...); err != nil {
		t.Fatal(err)
	}
}

func TestTheConnectionIsDroppedAfterTheBytes(t *testing.T) {
	s := misbehaves(t)
	for _, n := range []int64{0, 1, 10, 18, 100} {
		setFaults(t, s, DropAfter(n))
		conn := dial(t, s.Addr().String())
		if _, err := io.WriteString(conn, "SSH-2.0-test\r\n"); err != nil {
			t.Fatal(err)
		}
		said, err := io.ReadAll(conn)
		if err != nil && !strings.Contains(err.Error(), "reset") || int64(len(said)) != n {
			t.Errorf("%d bytes of %d, %v", len(said), n, err)
		}
	}
	setFaults(t, s, DropAfter(2500))
	if err := use(s); err == nil {
		t.Error("the client did all it wanted within 2500 bytes")
	}
	setFaults(t, s)
	if err := use(s); err != nil {
		t.Errorf("without faults: %v", err)
	}
}

func TestAListedKeysSignatureIsRefused(t *testing.T) {
	s := misbehaves(t, WithFault(RefuseSignature()))
	if err := use(s); err == nil || !strings.Contains(err.Error(), "unable to authenticate") {
		t.Errorf("%v", err)
	}
	var got []string
	for _, e := range s.Events() {
		if e.Kind == Auth && e.Method != "none" {
			got = append(got, string(e.Verdict)+" "+e.Reason)
		}
	}
	if diff := cmp.Diff([]string{"postponed ", "failed fault refuse-signature"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestEveryConnectionHasAnotherHostKey(t *testing.T) {
	s := misbehaves(t, WithFault(ChangeHostKey()))
	seen := map[string]bool{ssh.FingerprintSHA256(s.HostKey()): true}
	for range 3 {
		config := s.ClientConfig("alice")
		config.HostKeyCallback = func(_ string, _ net.Addr, key ssh.PublicKey) error {
			seen[ssh.FingerprintSHA256(key)] = true
			return nil
		}
		client, err := ssh.Dial("tcp", s.Addr().String(), config)
		if err != nil {
			t.Fatal(err)
		}
		_ = client.Close()
	}
	if len(seen) != 4 {
		t.Errorf("%d keys", len(seen))
	}
}

func TestTheFirstAttemptIsOneTooMany(t *testing.T) {
	for _, method := range []ssh.AuthMethod{ssh.Password("tulip"), answering("tulip")} {
		s := misbehaves(t, alice(), WithFault(ExhaustAuthTries()))
		_, err := ssh.Dial("tcp", s.Addr().String(), s.ClientConfig("alice", method))
		if err == nil || !strings.Contains(err.Error(), "too many authentication failures") {
			t.Errorf("%v", err)
		}
		eventOf(t, s, Misbehaved)
	}
}

func TestOldAlgorithmsLogInWhoStillHasThem(t *testing.T) {
	s := misbehaves(t, WithFault(OldAlgorithms()))
	if err := use(s); err == nil || !strings.Contains(err.Error(), "no common algorithm") {
		t.Errorf("a client of today: %v", err)
	}
	for _, kex := range agedAlgorithms.keyExchanges {
		for _, cipher := range agedAlgorithms.ciphers {
			config := s.ClientConfig("alice")
			config.KeyExchanges, config.Ciphers, config.MACs = []string{kex}, []string{cipher}, []string{ssh.HMACSHA1}
			config.HostKeyAlgorithms = []string{ssh.KeyAlgoRSA}
			config.HostKeyCallback = ssh.InsecureIgnoreHostKey()
			client, err := ssh.Dial("tcp", s.Addr().String(), config)
			if err != nil {
				t.Errorf("%s, %s: %v", kex, cipher, err)
				continue
			}
			_ = client.Close()
		}
	}
}

// openSSHSays is what OpenSSH's client prints when it is to log in to s, whose key it knows.
func openSSHSays(t *testing.T, s *Server, key testmachine.Key) string {
	t.Helper()
	program := testmachine.RequireProgram(t, "ssh")
	known := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(known, []byte(s.KnownHosts()), 0o600); err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-F", "none", "-p", port, "-i", key.PEM, "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none",
		"-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "UserKnownHostsFile="+known,
		"-o", "GlobalKnownHostsFile=/dev/null", "alice@"+host, "true")
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + t.TempDir()}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Errorf("ssh ended with %v", err)
	}
	return string(out)
}

func TestOpenSSHsClientSaysWhatItSaysOfSuchServers(t *testing.T) {
	key := newKey(t)
	for _, test := range []struct {
		fault Fault
		want  string
	}{
		{ChangeHostKey(), "REMOTE HOST IDENTIFICATION HAS CHANGED"},
		{ExhaustAuthTries(), "too many authentication failures"},
		{OldAlgorithms(), "no matching key exchange method found"},
		{Disconnect(AtVersion), "kex_exchange_identification: "},
		{Disconnect(AtKeyReply), "Connection "},
		{DropAfter(10), "kex_exchange_identification: "},
		{RefuseSignature(), "Permission denied (publickey)"},
	} {
		t.Run(test.fault.String(), func(t *testing.T) {
			s := misbehaves(t, WithAuthorizedKeys(key.Line), WithFault(test.fault))
			if said := openSSHSays(t, s, key); !strings.Contains(said, test.want) {
				t.Errorf("ssh says:\n%s", said)
			}
		})
	}
}

func TestASilentServerAnswersNothingElseEither(t *testing.T) {
	s := misbehaves(t, WithFault(Silent(AtCommand)), WithIdleTimeout(300*time.Millisecond))
	client, err := ssh.Dial("tcp", s.Addr().String(), s.ClientConfig("alice"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- session.Run("true") }()
	eventOf(t, s, Misbehaved)
	if _, _, err := client.SendRequest("keepalive@openssh.com", true, nil); err == nil {
		t.Error("a request got an answer")
	}
	if err := <-ended; err == nil {
		t.Error("the command got an answer")
	}
	if got := eventOf(t, s, Disconnected).Reason; got != "fault silent:command" { // it was not the client who could bear it no longer
		t.Errorf("reason: %s", got)
	}
}

func TestASlowServerWaitsNoLongerThanTheConnectionLasts(t *testing.T) {
	for _, at := range moments {
		t.Run(string(at), func(t *testing.T) {
			s := misbehaves(t, WithFault(Slow(at, time.Hour)))
			ended := make(chan error, 1)
			go func() { ended <- use(s) }()
			eventOf(t, s, Misbehaved)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; err == nil {
				t.Error("the client got an answer")
			}
		})
	}
}
