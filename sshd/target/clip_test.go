package target

import (
	"encoding/json"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/crypto/ssh"
)

// TestTheRecordDoesNotKeepWhatAClientMakesUp: there are more bytes in the requests than the record may keep.
func TestTheRecordDoesNotKeepWhatAClientMakesUp(t *testing.T) {
	big := strings.Repeat("x", 200_000)
	for name, made := range map[string]func(*testing.T, *Server, *ssh.Client){
		"user": func(t *testing.T, s *Server, _ *ssh.Client) {
			for range 50 {
				config := s.ClientConfig(big)
				config.Auth = []ssh.AuthMethod{ssh.Password("wrong")}
				if _, err := ssh.Dial("tcp", s.Addr().String(), config); err == nil {
					t.Fatal("logged in")
				}
			}
		},
		"method, reason": func(t *testing.T, s *Server, _ *ssh.Client) {
			for range 50 {
				s.tell(Event{Kind: Auth, Method: strings.Clone(big), Certificate: strings.Clone(big), Reason: strings.Clone(big)})
			}
		},
		"request": func(t *testing.T, _ *Server, c *ssh.Client) {
			d := newDialog(t, c)
			for range 50 {
				d.ask(big, nil)
			}
		},
		"variable": func(t *testing.T, _ *Server, c *ssh.Client) {
			d := newDialog(t, c)
			for range 50 {
				d.setenv(big, "")
			}
		},
		"host": func(t *testing.T, _ *Server, c *ssh.Client) {
			for range 50 {
				_, _, _ = c.SendRequest("cancel-tcpip-forward", true, ssh.Marshal(tcpipForward{Host: big, Port: 1}))
			}
		},
		"command": func(t *testing.T, _ *Server, c *ssh.Client) {
			for range 50 {
				execute(big)(newDialog(t, c))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := Start(t, WithRun(NotFound), WithFailureDelay(0))
			client := connect(t, s)
			before := heap()
			made(t, s, client)
			if now := heap(); now > before+4<<20 {
				t.Errorf("%d kB more are held", (now-before)>>10)
			}
			for _, e := range s.Events() {
				if line, err := json.Marshal(e); err != nil || len(line) > 3*maxText {
					t.Errorf("a line of %d bytes, %v", len(line), err)
				}
			}
		})
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestClippedTextIsStillText(t *testing.T) {
	for text, want := range map[string]string{
		"":            "",
		"123456":      "123456",
		"1234567":     "123456…",
		"12345ä":      "12345…",
		"1234ä":       "1234ä",
		"ää\xff\xffä": "ää\xff\xff…",
	} {
		got := clipped(text, 6)
		if got != want || utf8.ValidString(text) && !utf8.ValidString(got) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
