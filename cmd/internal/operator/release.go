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
	removeKeys := false
	cmd := leaf("release", "Give the instance back: as it would be without latchkey",
		`release takes latchkey's part out of sshd's configuration, so that password logon is
what sshd's own configuration says, and has the running sshd load that. The bound
key stays in authorized_keys as a plain line, unless --remove-key is given. What
latchkey remembers about the instance is forgotten. Stop latchkeyd before; removing
the package does both.`,
		"  systemctl disable --now latchkeyd && latchkey release",
		func(ctx context.Context) error { return t.release(ctx, removeKeys) })
	cmd.Flags().BoolVar(&removeKeys, "remove-key", false, "remove the bound key as well")
	return cmd
}

func (t *tool) release(ctx context.Context, removeKeys bool) error {
	a, wrong, err := t.agentAnyway()
	if err != nil {
		return err
	}
	if wrong != nil {
		fmt.Fprintf(t.stderr, "latchkey: going by what is remembered, and by the defaults: %v\n", wrong)
	}
	released, err := a.Release(ctx, removeKeys)
	if errors.Is(err, agent.ErrRunning) {
		return fmt.Errorf("%w, and would bind the key again: stop it first (systemctl disable --now latchkeyd)", err)
	}
	if released == nil {
		return err
	}
	if t.json {
		return errors.Join(t.printJSON(released), err)
	}
	if err == nil {
		t.printOpened(released)
	}
	t.printKeys(released)
	return err
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

func (t *tool) printKeys(r *agent.Released) {
	for _, file := range r.Files {
		if len(file.Kept) > 0 {
			fmt.Fprintf(t.stdout, "%s: %s stays, as a plain line: it still logs in as %s\n", file.KeysFile, strings.Join(file.Kept, ", "), file.User)
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
