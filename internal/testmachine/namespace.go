package testmachine

import (
	"fmt"
	"os"
	"testing"

	"github.com/latchkey-ssh/latchkey/internal/overlay"
)

// init moves the test binary into a mount namespace of its own. It is an init and not a function that each TestMain
// calls because a forgotten call would put mounts on the real machine.
func init() {
	if !testing.Testing() || os.Geteuid() != 0 || overlay.InOwnNamespace() {
		return
	}
	fmt.Fprintf(os.Stderr, "testmachine: %v\n", overlay.EnterOwnNamespace())
}
