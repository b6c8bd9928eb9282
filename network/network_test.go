package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
	"github.com/latchkey-ssh/latchkey/metadata"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// endpoint is a metadata endpoint of the instance i-test, to which these keys
// are bound.
func endpoint(t *testing.T, keys ...testmachine.Key) Endpoint {
	t.Helper()
	tree := map[string]string{"/latest/meta-data/instance-id": "i-test", "/latest/meta-data/": "instance-id\n"}
	for i, key := range keys {
		tree["/latest/meta-data/public-keys/"] += fmt.Sprintf("%d/\n", i)
		tree[fmt.Sprintf("/latest/meta-data/public-keys/%d/openssh-key", i)] = key.Line
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, there := tree[r.URL.Path]
		if !there {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, text)
	}))
	t.Cleanup(server.Close)
	return Endpoint{URL: server.URL, Token: metadata.TokenOff}
}

// unprivileged is a Remote whose processes end with the test.
func unprivileged(t *testing.T) *Remote {
	t.Helper()
	r := Unprivileged("/some/root") // not "/": that one may have systemd's
	t.Cleanup(func() {
		r.Rest()
		await(t, "its processes have ended", func() bool { return child(t) == "" })
	})
	return r
}

// await polls until something holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
		<-tick.C
	}
}

func TestAnotherProcessFetchesTheBinding(t *testing.T) {
	r, key := unprivileged(t), testmachine.NewKey(t, "ed25519")
	got := r.Fetch(t.Context(), endpoint(t, key))
	if got.State != metadata.Bound || len(got.Keys) != 1 || got.Keys[0].Line() != key.Line || got.InstanceID != "i-test" {
		t.Errorf("fetched %+v, want %s bound to i-test", got, key.Line)
	}
	e := endpoint(t)
	e.InstanceID = "i-other"
	if got := r.Fetch(t.Context(), e); got.State != metadata.Unknown {
		t.Errorf("an endpoint of another instance: %+v, want unknown", got)
	}
}

// TestTheLargestBindingFits: sixteen keys, each in a line as long as may be.
func TestTheLargestBindingFits(t *testing.T) {
	var keys []testmachine.Key
	for range 16 {
		key := testmachine.NewKey(t, "ed25519")
		key.Line += " " + strings.Repeat("c", 16<<10-len(key.Line)-1)
		keys = append(keys, key)
	}
	if got := unprivileged(t).Fetch(t.Context(), endpoint(t, keys...)); len(got.Keys) != 16 {
		t.Errorf("%s with %d keys (%s), want 16", got.State, len(got.Keys), got.Reason)
	}
}

func TestAnotherProcessMakesTheLoopbackConnection(t *testing.T) {
	ours, theirs, err := unprivileged(t).Loopback(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	if _, err := theirs.WriteString("from sshd"); err != nil {
		t.Fatal(err)
	}
	flags, err := unix.FcntlInt(theirs.Fd(), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_NONBLOCK != 0 {
		t.Errorf("sshd's end has flags %#x, %v; it must block", flags, err)
	}
	theirs.Close()
	if got, err := io.ReadAll(ours); string(got) != "from sshd" {
		t.Errorf("read %q, %v", got, err)
	}
}

func TestAnotherProcessAsksTheListener(t *testing.T) {
	m := testmachine.New(t)
	m.AddUser("ops", "correct horse")
	m.StartSSHD()
	q := sshd.Question{Address: m.Address(), User: "ops", HostKey: m.HostKey.Marshal()}
	got := unprivileged(t).Ask(t.Context(), q, true)
	if !got.OffersPassword() || got.Key != sshd.Unknown {
		t.Errorf("answer %+v, want the methods, password among them", got)
	}
}

// TestTheProcessHoldsNoPrivilege: as root starts it, outside of any unit.
func TestTheProcessHoldsNoPrivilege(t *testing.T) {
	testmachine.RequireRoot(t)
	remote := unprivileged(t)
	if got := remote.Fetch(t.Context(), endpoint(t)); got.State != metadata.Unbound {
		t.Fatalf("fetched %+v", got)
	}
	process := "/proc/" + child(t)
	status, err := os.ReadFile(process + "/status")
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]string{}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		fields[name] = strings.Join(strings.Fields(value), " ")
	}
	for name, want := range map[string]string{
		"CapInh": "0000000000000000", "CapPrm": "0000000000000000", "CapEff": "0000000000000000",
		"CapBnd": "0000000000000000", "CapAmb": "0000000000000000", "NoNewPrivs": "1", "Groups": "",
	} {
		if fields[name] != want {
			t.Errorf("%s is %q, want %q", name, fields[name], want)
		}
	}
	if strings.Contains(" "+fields["Uid"]+" "+fields["Gid"]+" ", " 0 ") {
		t.Errorf("it has uid %s, gid %s", fields["Uid"], fields["Gid"])
	}
	if environ, err := os.ReadFile(process + "/environ"); err != nil || len(environ) > 0 {
		t.Errorf("its environment is %q, %v; want none", environ, err)
	}
}

// child is a network process that this one has started, "" when there is none.
func child(t *testing.T) string {
	t.Helper()
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		children, _ := os.ReadFile(list) // of a thread that may have ended
		for pid := range strings.FieldsSeq(string(children)) {
			if line, _ := os.ReadFile("/proc/" + pid + "/cmdline"); strings.HasSuffix(string(line), "\x00"+Command+"\x00") {
				return pid
			}
		}
	}
	return ""
}

// remoteTo is a Remote whose process is the function, once for each connection.
func remoteTo(t *testing.T, process func(*net.UnixConn)) *Remote {
	t.Helper()
	return &Remote{connect: func(context.Context) (*link, error) {
		ours, theirs := conversation(t)
		go func() {
			defer theirs.Close()
			if err := send(theirs, reply{}); err == nil {
				process(theirs)
			}
		}()
		return &link{UnixConn: ours}, nil
	}}
}

// conversation is the two ends of one.
func conversation(t *testing.T) (ours, theirs *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, conn := range []**net.UnixConn{&ours, &theirs} {
		if *conn, err = unixConn(os.NewFile(uintptr(fds[i]), "conversation")); err != nil {
			t.Fatal(err)
		}
	}
	return ours, theirs
}

// says replies with these bytes to whatever is asked.
func says(text string, files ...*os.File) func(*net.UnixConn) {
	var fds []int
	for _, file := range files {
		fds = append(fds, int(file.Fd()))
	}
	return func(conn *net.UnixConn) {
		var r request
		if _, err := receive(conn, &r); err != nil {
			return
		}
		_, _, _ = conn.WriteMsgUnix([]byte(text), unix.UnixRights(fds...), nil)
	}
}

// TestAHostileNetworkProcessChangesNothing: whatever it says that is not a sound
// answer counts as none.
func TestAHostileNetworkProcessChangesNothing(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":                    "",
		"no JSON":                    "ssh-ed25519 AAAA",
		"null":                       "null",
		"the other kind of answer":   `{"loopback":true}`,
		"bound without keys":         `{"binding":{"state":"bound","instance_id":"i-1"},"answer":{"key":"accepted"}}`,
		"a key with options":         `{"binding":{"state":"bound","instance_id":"i-1","keys":[{"type":"command=\"x\" ssh-ed25519","blob":"AAAA"}]},"answer":{"key":"yes"}}`,
		"a key of two lines":         `{"binding":{"state":"bound","instance_id":"i-1","keys":[{"type":"ssh-ed25519","blob":"AAAA","comment":"a\nssh-rsa AAAA"}]},"answer":{"key":"accepted","methods":["publickey"],"host_key":"AAAA","reason":"a\nb"}}`,
		"a user who is none":         `{"binding":{"state":"unbound","instance_id":"i-1","user":"../root"},"answer":{"key":"refused","methods":["pass\u0007word"]}}`,
		"unbound by no one":          `{"binding":{"state":"unbound"},"answer":{"key":""}}`,
		"unknown and yet keys":       `{"binding":{"state":"unknown","keys":[{}],"reason":"x"},"answer":{"key":"unknown","version":"\u001b[2J"}}`,
		"longer than any message is": `{"error":"` + strings.Repeat("x", maxMessage) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			r := remoteTo(t, says(text))
			defer r.Rest()
			if got := r.Fetch(t.Context(), Endpoint{}); got.State != metadata.Unknown || got.Validate() != nil {
				t.Errorf("binding %+v (%v), want unknown", got, got.Validate())
			}
			if got := r.Ask(t.Context(), sshd.Question{}, false); got.Key != sshd.Unknown || got.Methods != nil || got.Validate() != nil {
				t.Errorf("answer %+v (%v), want unknown", got, got.Validate())
			}
			if _, _, err := r.Loopback(t.Context()); err == nil {
				t.Error("a connection was made of that")
			}
		})
	}
}

// TestOnlyTheTwoEndsOfALoopbackConnectionAreTaken: sshd is not to be started on
// whatever descriptor the network process hands over.
func TestOnlyTheTwoEndsOfALoopbackConnectionAreTaken(t *testing.T) {
	ours, theirs := connection(t)
	other, otherTheirs := connection(t)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for name, files := range map[string][]*os.File{
		"none":                      nil,
		"one":                       {ours},
		"three":                     {ours, theirs, other},
		"files":                     {null, null},
		"ends of two connections":   {ours, otherTheirs},
		"the same end twice":        {ours, ours},
		"more than a message holds": {ours, theirs, ours, theirs, ours, theirs, ours, theirs, ours, theirs},
	} {
		t.Run(name, func(t *testing.T) {
			before := open(t)
			r := remoteTo(t, says("{}", files...))
			if conn, file, err := r.Loopback(t.Context()); err == nil {
				t.Errorf("taken: %v, %v", conn.LocalAddr(), file.Name())
			}
			r.Rest()
			await(t, "no more descriptors are open than before", func() bool { return open(t) <= before })
		})
	}
	r := remoteTo(t, says("{}", ours, theirs))
	defer r.Rest()
	conn, file, err := r.Loopback(t.Context())
	if err != nil {
		t.Fatalf("the two ends are not taken: %v", err)
	}
	conn.Close()
	file.Close()
}

// connection is a loopback connection, both ends as files.
func connection(t *testing.T) (ours, theirs *os.File) {
	t.Helper()
	conn, theirs, err := sshd.LoopbackPair(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ours, err = conn.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ours.Close()
		theirs.Close()
	})
	return ours, theirs
}

// open counts the open descriptors.
func open(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// TestAProcessThatDoesNotGreetOrDiesOverItsReadingIsAnUnknown: and the reason
// says where to look. Nothing less confined takes its place.
func TestAProcessThatDoesNotGreetOrDiesOverItsReadingIsAnUnknown(t *testing.T) {
	mute := &Remote{connect: func(context.Context) (*link, error) {
		ours, theirs := conversation(t)
		return &link{UnixConn: ours}, theirs.Close()
	}}
	got := mute.Fetch(t.Context(), endpoint(t))
	if got.State != metadata.Unknown || got.Validate() != nil || !strings.Contains(got.Reason, "systemctl status") {
		t.Errorf("fetched %+v (%v), want unknown, and where to look", got, got.Validate())
	}
	var deaths atomic.Int32
	r := remoteTo(t, func(conn *net.UnixConn) {
		deaths.Add(1)
		_, _ = receive(conn, &request{})
	})
	if got := r.Fetch(t.Context(), endpoint(t)); got.State != metadata.Unknown || got.Validate() != nil || deaths.Load() != attempts {
		t.Errorf("fetched %+v (%v) after %d deaths, want unknown after %d", got, got.Validate(), deaths.Load(), attempts)
	}
}

// TestADescriptorThatTakesLongToCloseHoldsNobodyUp: a socket with data that
// nobody reads, told to wait until somebody has (SO_LINGER). One is handed over,
// one stays in the queue.
func TestADescriptorThatTakesLongToCloseHoldsNobodyUp(t *testing.T) {
	files := []*os.File{lingering(t), lingering(t)}
	handedOver := make(chan struct{})
	r := remoteTo(t, func(conn *net.UnixConn) {
		defer close(handedOver)
		_, _ = receive(conn, &request{})
		for _, file := range files {
			_ = send(conn, reply{}, file)
			_ = file.Close()
		}
	})
	start := time.Now()
	r.Fetch(t.Context(), Endpoint{})
	<-handedOver
	r.Rest()
	if took := time.Since(start); took > lingers/2 {
		t.Errorf("it took %v", took)
	}
}

// lingers is long enough to be noticed, and short enough to be waited for by
// goleak.
const lingers = 4 * time.Second

// lingering is a socket that takes that long to close.
func lingering(t *testing.T) *os.File {
	t.Helper()
	ours, _ := connection(t)
	fd := int(ours.Fd())
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := unix.Write(fd, make([]byte, 64<<10)); err != nil {
			break // it is full
		}
	}
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: int32(lingers.Seconds())}); err != nil {
		t.Fatal(err)
	}
	return ours
}

// TestAProcessThatDiedWhileItRestedIsReplaced: somebody may have killed it.
func TestAProcessThatDiedWhileItRestedIsReplaced(t *testing.T) {
	r := unprivileged(t)
	e := endpoint(t)
	r.Fetch(t.Context(), e)
	_ = r.idle[0].CloseWrite() // it ends then
	if got := r.Fetch(t.Context(), e); got.State != metadata.Unbound {
		t.Errorf("fetched %+v, want unbound", got)
	}
}

func TestWhoGivesUpDoesNotWaitForTheProcess(t *testing.T) {
	ended := make(chan struct{})
	r := remoteTo(t, func(conn *net.UnixConn) {
		defer close(ended)
		var req request
		_, _ = receive(conn, &req)
		_, err := receive(conn, &req) // until the other side is gone
		if !errors.Is(err, io.EOF) {
			t.Errorf("the process was left with %v, want the end of the conversation", err)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancelled := time.AfterFunc(10*time.Millisecond, cancel)
	defer cancelled.Stop()
	start := time.Now()
	if got := r.Fetch(ctx, Endpoint{}); got.State != metadata.Unknown || time.Since(start) > longest/2 {
		t.Errorf("%+v after %v", got, time.Since(start))
	}
	<-ended
}

// TestTheProcessGivesUpWithItsAsker: nobody is left to wait for the answer.
func TestTheProcessGivesUpWithItsAsker(t *testing.T) {
	asked, gone := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
		close(gone)
	}))
	defer server.Close()
	r := unprivileged(t)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	r.Fetch(ctx, Endpoint{URL: server.URL, Token: metadata.TokenOff})
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		t.Error("it still waits for the endpoint")
	}
}

// FuzzWhateverIsSaidIsSoundOrUnknown: bytes of the process that reads what
// strangers send reach the one with privilege here, and nowhere else.
func FuzzWhateverIsSaidIsSoundOrUnknown(f *testing.F) {
	f.Add([]byte(`{"binding":{"state":"unbound","instance_id":"i-1","at":"2026-01-02T03:04:05Z"}}`))
	f.Add([]byte(`{"answer":{"key":"refused","methods":["password"],"version":"SSH-2.0-x","host_key":"AAAA","reason":"no"}}`))
	f.Add([]byte(`{"changed":true}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := remoteTo(t, says(string(data)))
		defer r.Rest()
		if b := r.Fetch(t.Context(), Endpoint{}); b.Validate() != nil {
			t.Errorf("binding %+v: %v", b, b.Validate())
		}
		if a := r.Ask(t.Context(), sshd.Question{}, false); a.Validate() != nil {
			t.Errorf("answer %+v: %v", a, a.Validate())
		}
		if changed, err := r.Watch(t.Context(), Endpoint{}, "x", time.Second); changed && err != nil {
			t.Errorf("changed, and yet %v", err)
		}
	})
}
