package operator

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/latchkey-ssh/latchkey/agent"
	"github.com/latchkey-ssh/latchkey/sshd"
)

func (t *tool) releaseCommand() *cobra.Command {
	var how agent.ReleaseHow
	cmd := leaf("release", "Give the instance back: as it would be without latchkey",
		`release takes latchkey's part out of sshd's configuration, so that password logon is
what sshd's own configuration says, and has the running sshd load that. The bound
key stays in authorized_keys as a plain line, unless --remove-key is given. What
latchkey remembers about the instance is forgotten. Stop latchkeyd before; removing
the package does both.

A key that sshd got by command (apply.delivery) is put into authorized_keys first.
Where that cannot be done, or sshd would not take the key from there, passwords are
as sshd's own configuration has them and the command stays, until that is mended or
--force is given: then everything goes, the key with it. What could not be done is
named, and the exit status is 1.`,
		"  systemctl disable --now latchkeyd && latchkey release",
		func(ctx context.Context) error { return t.release(ctx, how) })
	cmd.Flags().BoolVar(&how.RemoveKeys, "remove-key", false, "remove the bound key as well")
	cmd.Flags().BoolVar(&how.Force, "force", false, "take everything away, though the key does not stay or sshd cannot be told")
	return cmd
}

func (t *tool) release(ctx context.Context, how agent.ReleaseHow) error {
	a, wrong, err := t.agentAnyway()
	if err != nil {
		return err
	}
	if wrong != nil {
		fmt.Fprintf(t.stderr, "latchkey: going by what is remembered, and by the defaults: %v\n", wrong)
	}
	released, err := a.Release(ctx, how)
	if errors.Is(err, agent.ErrRunning) {
		return fmt.Errorf("%w, and would bind the key again: stop it first (systemctl disable --now latchkeyd)", err)
	}
	if err != nil && ctx.Err() != nil {
		return interrupted(ctx, err, `: what was begun is finished by the next "latchkey release"`)
	}
	if released == nil {
		return err
	}
	err = releaseHint(released, how, err)
	if t.json {
		return errors.Join(t.printJSON(released), err)
	}
	if err == nil {
		t.printOpened(released)
	}
	t.printKeys(released, !errors.Is(err, agent.ErrKeyNotKept))
	if err == nil && how.RemoveKeys && released.Password == "off" {
		fmt.Fprintf(t.stderr, "latchkey: WARNING: %s\n", nobodyGetsIn)
	}
	for _, line := range released.HelperLines {
		fmt.Fprintf(t.stderr, "latchkey: warning: %s still has sshd ask latchkey-authorized-keys, which is not latchkey's to undo: these logons end when that program goes\n", line)
	}
	return err
}

// What is said where nobody may be able to log in.
const (
	nobodyGetsIn = "sshd's own configuration has password logon off, so it may be that NOBODY can log in over SSH now: keep this session open until another logon works"
	notLoaded    = "the running sshd goes on as it was, so it may be that it takes no passwords: keep this session open until another logon works"
	notKnown     = "it is not known whether sshd takes passwords: keep this session open until another logon works"
)

// releaseHint adds to an error what it leaves, and what to do.
func releaseHint(r *agent.Released, how agent.ReleaseHow, err error) error {
	switch {
	case err == nil:
		return nil
	case how.Force && r.Password == "off":
		return fmt.Errorf("%w\nWARNING: %s", err, nobodyGetsIn)
	case how.Force && r.Listener == sshd.ListenerRunning: // else it would be reloaded
		return fmt.Errorf("%w\nWARNING: %s", err, notLoaded)
	case how.Force && r.Password != "on":
		return fmt.Errorf("%w\nWARNING: %s", err, notKnown)
	case how.Force:
		return fmt.Errorf("%w\npassword logon is on in sshd's own configuration", err)
	case errors.Is(err, agent.ErrKeyNotKept):
		return fmt.Errorf("%w\npassword logon is %s, as sshd's own configuration has it, and latchkey's command is still in there for the key; mend this and release again, or take everything away, the key with it: latchkey release --force", err, r.Password)
	}
	return fmt.Errorf("%w\nmend this and release again, or take away what can be: latchkey release --force", err)
}

func (t *tool) printOpened(r *agent.Released) {
	password := "password logon is " + r.Password
	if r.Password == "unknown" {
		password = "sshd could not be asked whether password logon is on"
	}
	if r.Opened {
		fmt.Fprintf(t.stdout, "sshd's configuration is as it was before latchkey%s: %s\n", listenerWords(r.Listener), password)
	} else {
		fmt.Fprintf(t.stdout, "nothing of latchkey was in sshd's configuration: %s\n", password)
	}
	if len(r.Files) == 0 {
		fmt.Fprintln(t.stdout, "no keys file has a key of latchkey's")
	}
}

// printKeys says what became of the keys; whether those that stay log in is not always
// known.
func (t *tool) printKeys(r *agent.Released, logIn bool) {
	for _, file := range r.Files {
		if len(file.Kept) > 0 {
			still := ""
			switch {
			case logIn && r.Password == "unknown":
				still = ": sshd could not be asked whether it logs in as " + file.User
			case logIn:
				still = ": it still logs in as " + file.User
			}
			fmt.Fprintf(t.stdout, "%s: %s stays, as a plain line%s\n", file.KeysFile, strings.Join(file.Kept, ", "), still)
		}
		if len(file.Removed) > 0 {
			fmt.Fprintf(t.stdout, "%s: %s removed\n", file.KeysFile, strings.Join(file.Removed, ", "))
		}
		if len(file.Own) > 0 {
			fmt.Fprintf(t.stdout, "%s: %s also stands in a line of %s's own, which is left as it is: it still logs in\n", file.KeysFile, strings.Join(file.Own, ", "), file.User)
		}
	}
}

func listenerWords(l sshd.Listener) string {
	switch l {
	case sshd.ListenerReloaded:
		return ", and sshd has loaded it"
	case sshd.ListenerOnDemand:
		return ", and the next connection meets it"
	}
	return ""
}
