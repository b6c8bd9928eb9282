package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// way is one way for a person to log in.
type way struct {
	name     string
	options  []string // of ssh(1)
	password string   // typed when ssh asks for it; nothing is if empty
}

func byKey(key testmachine.Key) way {
	return way{name: "the key", options: []string{"-i", key.PEM, "-o", "PreferredAuthentications=publickey"}}
}

func byPassword(password string) way { return typing("password", password) }

// byKeyboard answers what PAM asks.
func byKeyboard(password string) way { return typing("keyboard-interactive", password) }

func typing(method, password string) way {
	return way{
		name: method,
		options: []string{
			"-o", "BatchMode=no", "-o", "PubkeyAuthentication=no",
			"-o", "PreferredAuthentications=" + method, "-o", "NumberOfPasswordPrompts=1",
		},
		password: password,
	}
}

// ssh is OpenSSH's client, run at the cloud's end of the cable.
func (i *instance) ssh(user string, w way, command ...string) *exec.Cmd {
	i.t.Helper()
	options := slices.Concat(w.options, []string{"-o", "ConnectTimeout=10"})
	cmd := i.OpenSSH(i.t, user, options, command...)
	if w.password != "" {
		sshpass := testmachine.RequireProgram(i.t, "sshpass")
		cmd = exec.Command(sshpass, slices.Concat([]string{"-e", cmd.Path}, cmd.Args[1:])...)
	}
	cmd = at(i.network.cloud, cmd)
	cmd.Env = append(os.Environ(), "SSHPASS="+w.password)
	return cmd
}

// logOn logs in, runs a command, and returns what went wrong.
func (i *instance) logOn(user string, w way) error {
	i.t.Helper()
	out, err := i.ssh(user, w, "id", "-un").CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s by %s: %w\n%s", user, w.name, err, out)
	}
	if got := strings.TrimSpace(string(out)); got != user {
		return fmt.Errorf("%s by %s: logged in as %q", user, w.name, got)
	}
	return nil
}

// wantIn checks that each way lets the user in.
func (i *instance) wantIn(user string, ways ...way) {
	i.t.Helper()
	for _, w := range ways {
		if err := i.logOn(user, w); err != nil {
			i.t.Errorf("not let in: %v", err)
		}
	}
}

// wantOut checks that sshd lets the user in by none of the ways. No answer at
// all is not a refusal.
func (i *instance) wantOut(user string, ways ...way) {
	i.t.Helper()
	for _, w := range ways {
		err := i.logOn(user, w)
		switch {
		case err == nil:
			i.t.Errorf("%s was let in by %s", user, w.name)
		case !strings.Contains(err.Error(), "Permission denied"):
			i.t.Errorf("not refused, but: %v", err)
		}
	}
}

// methods is what sshd says it offers to a client that has nothing.
func (i *instance) methods(user string) string {
	i.t.Helper()
	nothing := way{options: []string{"-o", "PubkeyAuthentication=no"}}
	out, err := i.ssh(user, nothing, "true").CombinedOutput()
	_, list, found := strings.Cut(string(out), "Permission denied (")
	if err == nil || !found {
		i.t.Fatalf("ask for the methods: %v\n%s", err, out)
	}
	list, _, _ = strings.Cut(list, ")")
	return list
}

// wantMethods checks what sshd offers, such as "publickey,password".
func (i *instance) wantMethods(user, want string) {
	i.t.Helper()
	if got := i.methods(user); got != want {
		i.t.Errorf("sshd offers %s to %s, want %s", got, user, want)
	}
}
