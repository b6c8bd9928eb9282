package target

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/crypto/ssh"
)

// sessionChannel is a session's channel: it answers the client's requests, and runs one program. Requests are read all
// the time, whatever the program does.
type sessionChannel struct {
	*connection
	ssh.Channel
	login *login
	conn  *ssh.ServerConn
	slot  *slot

	session *Session
	windows chan Window
	signals chan string
	env     variables // of the client
	agent   *agentSocket
	told    int // requests that there was an event for

	program Handler        // nil until one is asked for
	running sync.WaitGroup // the program
}

func newSessionChannel(c *connection, l *login, conn *ssh.ServerConn, channel ssh.Channel, slot *slot) *sessionChannel {
	s := &sessionChannel{
		connection: c, Channel: channel, login: l, conn: conn, slot: slot,
		windows: make(chan Window, 1), signals: make(chan string, maxSignals),
	}
	s.session = &Session{
		User: l.user, Method: l.proof.method, Home: l.policy.home, Shell: l.policy.shell(),
		Windows: s.windows, Signals: s.signals, Remote: conn.RemoteAddr(), Local: conn.LocalAddr(),
		Stdin: channel, Stdout: channel, Stderr: channel.Stderr(),
	}
	if n := len(l.proof.keys); n > 0 {
		s.session.Fingerprint = l.proof.keys[n-1]
	}
	return s
}

// phase is when a request makes sense.
type phase int

const (
	atAnyTime phase = iota
	beforeProgram
	duringProgram
)

// sessionRequest is how a type of request is answered. about is what an event tells as its target; an error refuses.
type sessionRequest struct {
	when   phase
	untold bool // as long as it is granted
	answer func(s *sessionChannel, payload []byte) (about string, err error)
}

// sessionRequests are those of RFC 4254 section 6, RFC 4335 and OpenSSH's PROTOCOL file.
var sessionRequests = map[string]sessionRequest{
	"pty-req":                    {when: beforeProgram, answer: (*sessionChannel).answerPTY},
	"env":                        {when: beforeProgram, answer: (*sessionChannel).answerEnv},
	"auth-agent-req@openssh.com": {when: beforeProgram, answer: (*sessionChannel).answerAgent},
	"x11-req":                    {when: beforeProgram, answer: (*sessionChannel).answerX11},
	"exec":                       {when: beforeProgram, untold: true, answer: (*sessionChannel).answerExec},
	"shell":                      {when: beforeProgram, untold: true, answer: (*sessionChannel).answerShell},
	"subsystem":                  {when: beforeProgram, untold: true, answer: (*sessionChannel).answerSubsystem},
	"window-change":              {when: atAnyTime, untold: true, answer: (*sessionChannel).answerWindow},
	"signal":                     {when: duringProgram, answer: (*sessionChannel).answerSignal},
	"break":                      {when: duringProgram, answer: (*sessionChannel).answerBreak},
	"eow@openssh.com":            {when: atAnyTime, untold: true, answer: (*sessionChannel).answerEndOfWrite},
}

// serve answers requests until the client closes the channel, or is gone. It starts the program after its
// request was answered, so that nothing the program sends comes before the answer.
func (s *sessionChannel) serve(open context.Context, requests <-chan *ssh.Request) {
	started := false
	for request := range requests {
		_ = request.Reply(s.answer(request), nil)
		if s.program != nil && !started {
			started = true
			s.running.Go(func() { s.run(open) })
		}
	}
}

func (s *sessionChannel) answer(request *ssh.Request) bool {
	kind := sessionRequests[request.Type]
	about, err := "", kind.admits(s.program != nil)
	if err == nil {
		about, err = kind.answer(s, request.Payload)
	}
	if errors.Is(err, errStopped) {
		return false
	}
	e := Event{Kind: Request, Request: request.Type, Target: about, Verdict: Accepted}
	if err != nil {
		e.Verdict, e.Reason = Failed, err.Error()
	}
	if err != nil || !kind.untold {
		s.tellRequest(e)
	}
	return err == nil
}

// maxToldRequests bounds what a client can write into the server's record with one channel.
const maxToldRequests = 256

func (s *sessionChannel) tellRequest(e Event) {
	s.told++
	if s.told <= maxToldRequests {
		s.tell(e)
	}
}

func (r sessionRequest) admits(running bool) error {
	switch {
	case r.answer == nil:
		return errors.New("unknown request")
	case r.when == beforeProgram && running:
		return errors.New("a program runs on this channel already")
	case r.when == duringProgram && !running:
		return errors.New("no program runs on this channel yet")
	}
	return nil
}

var errMalformed = errors.New("malformed request")

func unmarshal(payload []byte, into any) error {
	if ssh.Unmarshal(payload, into) != nil {
		return errMalformed
	}
	return nil
}

func (s *sessionChannel) answerX11([]byte) (string, error) {
	return "", errors.New("this server has no X11 forwarding")
}

// answerEndOfWrite: the client reads no more of what the program writes. There is nothing to do: writing ends with the channel.
func (s *sessionChannel) answerEndOfWrite([]byte) (string, error) { return "", nil }

// run runs the program, reports how it ended and closes the channel. The report comes before the end of the output:
// dbclient, which has sent all of its input, closes the channel at that end, and hears nothing that comes after it.
func (s *sessionChannel) run(open context.Context) {
	defer s.Close()
	status := s.call(open)
	goOn := s.reach(AtExit)
	e := s.session.event(Exit)
	defer func() { s.tell(e) }()
	request, payload := "exit-status", ssh.Marshal(struct{ Status uint32 }{uint32(status)})
	if signal := s.session.ExitSignal; signal != nil {
		e.Signal = signal.Name
		request, payload = "exit-signal", signal.marshal()
	} else {
		e.Status = &status
	}
	s.slot.free()
	if goOn {
		_, _ = s.SendRequest(request, false, payload)
		_ = s.CloseWrite()
	}
}

// call is the program's status; that of one that panics is 255.
func (s *sessionChannel) call(open context.Context) int {
	defer s.runs(s.session)()
	status := 255
	func() {
		defer s.panicked()
		status = s.program(open, s.session)
	}()
	return status
}

// release waits for the program, whose context has ended, and takes away what the session had.
func (s *sessionChannel) release() {
	s.running.Wait()
	if s.agent != nil {
		s.agent.close()
	}
}

// slot is a session's place among MaxSessions. It is free before the client knows that the session is over.
type slot struct {
	connection *connection
	once       sync.Once
}

func (s *slot) free() { s.once.Do(func() { s.connection.sessions.Add(-1) }) }
