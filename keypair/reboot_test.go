package keypair_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/keypair"
	"github.com/latchkey-ssh/latchkey/keypair/memstore"
)

// inABubble runs a test on a region in memory, with a clock of its own.
func inABubble(t *testing.T, test func(t *testing.T, r *keypair.Region)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, inMemory(t)) })
}

// machine is the restart hook of a region: a restart ends when the test says how.
type machine struct {
	ends     chan error
	forced   []bool
	reported []string
}

// withMachine runs a test on a region with the instance i-1 and a machine.
func withMachine(t *testing.T, test func(t *testing.T, r *keypair.Region, m *machine)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := &machine{ends: make(chan error)}
		r := openRegion(t, memstore.New(), keypair.Options{Restart: m.restart, Report: m.report})
		register(t, r, linux("i-1", 1))
		test(t, r, m)
	})
}

func (m *machine) restart(ctx context.Context, instance keypair.Instance, force bool) error {
	m.forced = append(m.forced, force)
	select {
	case err := <-m.ends:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (m *machine) report(instance string, err error) {
	m.reported = append(m.reported, instance+": "+err.Error())
}

// end ends the restart under way and waits for what follows.
func (m *machine) end(err error) {
	m.ends <- err
	synctest.Wait()
}

func wantStatus(t *testing.T, r *keypair.Region, want keypair.Status) {
	t.Helper()
	instance, err := r.Instance(context.Background(), "i-1")
	if err != nil || instance.Status != want {
		t.Errorf("status %q (%v), want %q", instance.Status, err, want)
	}
}

func TestARebootedInstanceIsStartingAndThenRunning(t *testing.T) {
	withMachine(t, func(t *testing.T, r *keypair.Region, m *machine) {
		for _, force := range []bool{false, true} {
			wantErr(t, "reboot", r.Reboot(t.Context(), "i-1", force), nil)
			wantStatus(t, r, keypair.Starting)
			wantErr(t, "reboot again", r.Reboot(t.Context(), "i-1", force), keypair.ErrInstanceStatus)
			m.end(nil)
			wantStatus(t, r, keypair.Running)
		}
		if diff := cmp.Diff([]bool{false, true}, m.forced); diff != "" {
			t.Errorf("forced (-want +got):\n%s", diff)
		}
		if m.reported != nil {
			t.Errorf("reported %v", m.reported)
		}
	})
}

func TestOnlyARunningInstanceIsRebooted(t *testing.T) {
	withMachine(t, func(t *testing.T, r *keypair.Region, m *machine) {
		for _, status := range []keypair.Status{keypair.Pending, keypair.Starting, keypair.Stopping, keypair.Stopped} {
			wantErr(t, "set status", r.SetStatus(t.Context(), "i-1", status), nil)
			wantErr(t, "reboot", r.Reboot(t.Context(), "i-1", true), keypair.ErrInstanceStatus)
			wantStatus(t, r, status)
		}
		wantErr(t, "no status", r.SetStatus(t.Context(), "i-1", "Broken"), keypair.ErrInstanceInvalid)
		if m.forced != nil {
			t.Error("it was restarted")
		}
	})
}

// Else whoever waits for the restart would take the old boot for the new one.
func TestARestartThatFailsIsReportedAndLeavesTheInstanceStopped(t *testing.T) {
	withMachine(t, func(t *testing.T, r *keypair.Region, m *machine) {
		wantErr(t, "reboot", r.Reboot(t.Context(), "i-1", false), nil)
		m.end(errors.New("no power"))
		wantStatus(t, r, keypair.Stopped)
		if diff := cmp.Diff([]string{"i-1: no power"}, m.reported); diff != "" {
			t.Errorf("reported (-want +got):\n%s", diff)
		}
	})
}

func TestAStatusThatSomebodySetDuringARestartStays(t *testing.T) {
	withMachine(t, func(t *testing.T, r *keypair.Region, m *machine) {
		wantErr(t, "reboot", r.Reboot(t.Context(), "i-1", false), nil)
		wantErr(t, "stop", r.SetStatus(t.Context(), "i-1", keypair.Stopped), nil)
		m.end(nil)
		wantStatus(t, r, keypair.Stopped)
	})
}

func TestAnInstanceMayBeRemovedDuringItsRestart(t *testing.T) {
	withMachine(t, func(t *testing.T, r *keypair.Region, m *machine) {
		wantErr(t, "reboot", r.Reboot(t.Context(), "i-1", false), nil)
		wantErr(t, "remove", r.Remove(t.Context(), "i-1"), nil)
		m.end(nil)
		_, err := r.Instance(t.Context(), "i-1")
		wantErr(t, "look up", err, keypair.ErrInstanceNotFound)
		if m.reported != nil {
			t.Errorf("reported %v", m.reported)
		}
	})
}

func TestABindingMadeDuringARestartStays(t *testing.T) {
	withMachine(t, func(t *testing.T, r *keypair.Region, m *machine) {
		importPair(t, r, "mine")
		wantErr(t, "reboot", r.Reboot(t.Context(), "i-1", false), nil)
		attach(t, r, "mine", "i-1")
		m.end(nil)
		wantStatus(t, r, keypair.Running)
		if got := boundTo(t, r, "i-1"); got != "mine" {
			t.Errorf("%q is bound", got)
		}
	})
}

func TestWithoutAHookAnInstanceIsRestartedAtOnce(t *testing.T) {
	inABubble(t, func(t *testing.T, r *keypair.Region) {
		register(t, r, linux("i-1", 1))
		wantErr(t, "reboot", r.Reboot(t.Context(), "i-1", false), nil)
		synctest.Wait()
		wantStatus(t, r, keypair.Running)
	})
}

// TestARestartThatWasCutOffIsOverAtTheNextOpening closes the region in the middle of one.
func TestARestartThatWasCutOffIsOverAtTheNextOpening(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "region")
	store, ended := openFile(t, folder), make(chan struct{})
	restart := func(ctx context.Context, _ keypair.Instance, _ bool) error {
		defer close(ended)
		<-ctx.Done()
		return ctx.Err()
	}
	r := openRegion(t, store, keypair.Options{Restart: restart})
	register(t, r, linux("i-1", 1))
	wantErr(t, "reboot", r.Reboot(t.Context(), "i-1", false), nil)
	r.Close()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the restart goes on after Close")
	}
	wantStatus(t, r, keypair.Starting)
	wantErr(t, "close", store.Close(), nil)
	store = openFile(t, folder)
	defer store.Close()
	wantStatus(t, openRegion(t, store, keypair.Options{}), keypair.Running)
}
