// Package cli is what latchkey's programs have in common on the command line:
// exit codes, what is said when something goes wrong, flags they share.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/agent"
	"github.com/latchkey-ssh/latchkey/internal/account"
)

// Exit codes of every program, as in latchkey(8) EXIT STATUS. 64 and 77 are
// those of sysexits.h.
const (
	ExitDone    = 0  // done, or nothing to do
	ExitFailed  = 1  // something went wrong
	ExitChanges = 2  // plan: there are changes; doctor: there are findings; keys build: something was left out
	ExitUsage   = 64 // wrong usage or configuration
	ExitNoPerm  = 77 // not permitted
)

// ExitError ends a command with a code and without a message of its own.
type ExitError int

func (e ExitError) Error() string { return fmt.Sprintf("exit %d", int(e)) }

// UsageError is wrong usage.
type UsageError struct{ Err error }

func (e UsageError) Error() string { return e.Err.Error() }

// exitCode is the code for an error.
func exitCode(err error) int {
	var exit ExitError
	var usage UsageError
	var config *agent.ConfigError
	switch {
	case err == nil:
		return ExitDone
	case errors.As(err, &exit):
		return int(exit)
	case errors.As(err, &usage), errors.As(err, &config), errors.Is(err, account.ErrUnknownUser), errors.Is(err, account.ErrInvalidName):
		return ExitUsage
	case os.Geteuid() != 0 && (errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EPERM)):
		return ExitNoPerm
	}
	return ExitFailed
}

// Finish reports err on stderr, with what to do next, and returns the exit code.
func Finish(stderr io.Writer, program string, err error) int {
	code := exitCode(err)
	var silent ExitError
	if err == nil || errors.As(err, &silent) {
		return code
	}
	if errors.Is(err, context.Canceled) {
		err = errors.New("interrupted; what was begun is finished by the next \"latchkey apply\", or by latchkeyd")
	}
	fmt.Fprintf(stderr, "%s: %v\n", program, err)
	if hint := hint(code, err); hint != "" {
		fmt.Fprintf(stderr, "%s: %s\n", program, hint)
	}
	return code
}

// hint is what to do next, where the error itself does not say.
func hint(code int, err error) string {
	var usage UsageError
	switch {
	case errors.As(err, &usage):
		return "see --help"
	case errors.Is(err, account.ErrUnknownUser):
		return "create the account, or name another as login.user in latchkey.toml (what the endpoint names comes first)"
	case code == ExitNoPerm:
		return "run it as root"
	case errors.Is(err, agent.ErrBusy):
		return "try again in a moment"
	}
	return ""
}
