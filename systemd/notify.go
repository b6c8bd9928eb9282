package systemd

import (
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// What a service of Type=notify tells systemd (sd_notify(3)). Without systemd
// nobody is told, and nothing fails.

// startSlack is how much longer than what it waits for a start may take.
const startSlack = 5 * time.Second

// Starting asks for as much time to start in as a wait of that length needs.
func Starting(wait time.Duration) {
	notify(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", (wait + startSlack).Microseconds()))
}

// Ready tells that start-up is over.
func Ready() { notify(daemon.SdNotifyReady) }

// Status is shown by systemctl status: one line.
func Status(line string) { notify("STATUS=" + line) }

// Alive keeps the watchdog from ending the service.
func Alive() { notify(daemon.SdNotifyWatchdog) }

// WatchdogInterval is the longest time that may pass between two calls of Alive; 0
// where no watchdog watches (sd_watchdog_enabled(3)).
func WatchdogInterval() time.Duration {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return 0
	}
	return interval
}

func notify(state string) { _, _ = daemon.SdNotify(false, state) }
