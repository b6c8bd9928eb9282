package keypair_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
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
	reported []string

	mu          sync.Mutex
	forced      []bool
	under, most int // restarts at once
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
	m.count(1)
	defer m.count(-1)
	m.mu.Lock()
	m.forced = append(m.forced, force)
	m.mu.Unlock()
	select {
	case err := <-m.ends:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (m *machine) count(more int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.under += more
	m.most = max(m.most, m.under)
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
		synctest.Wait()
		wantErr(t, "stop", r.SetStatus(t.Context(), "i-1", keypair.Stopped), nil)
		m.end(nil)
		wantStatus(t, r, keypair.Stopped)
	})
}

func TestAnInstanceMayBeRemovedDuringItsRestart(t *testing.T) {
	withMachine(t, func(t *testing.T, r *keypair.Region, m *machine) {
		wantErr(t, "reboot", r.Reboot(t.Context(), "i-1", false), nil)
		synctest.Wait()
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

// TestOnlySoManyRestartsAreUnderWayAtOnce: a flood of reboots is none of programs.
func TestOnlySoManyRestartsAreUnderWayAtOnce(t *testing.T) {
	const others, atOnce = 100, 16
	withMachine(t, func(t *testing.T, r *keypair.Region, m *machine) {
		for n := range others {
			id := fmt.Sprint("i-flood-", n)
			register(t, r, linux(id, 100+n))
			wantErr(t, "reboot", r.Reboot(t.Context(), id, false), nil)
		}
		synctest.Wait()
		wantCount(t, r, keypair.Starting, others)
		for range others {
			m.end(nil)
		}
		wantCount(t, r, keypair.Running, others+1) // and i-1, which nobody has rebooted
		if m.most != atOnce {
			t.Errorf("%d were under way at once, want %d", m.most, atOnce)
		}
	})
}

// TestWhoWaitsForItsRestartMayBeTakenOut: it is not restarted then.
func TestWhoWaitsForItsRestartMayBeTakenOut(t *testing.T) {
	withMachine(t, func(t *testing.T, r *keypair.Region, m *machine) {
		const before = 16
		for n := range before + 3 {
			id := fmt.Sprint("i-flood-", n)
			register(t, r, linux(id, 100+n))
			wantErr(t, "reboot", r.Reboot(t.Context(), id, false), nil)
			synctest.Wait() // one after the other
		}
		wantErr(t, "remove", r.Remove(t.Context(), "i-flood-16"), nil)
		wantErr(t, "stop", r.SetStatus(t.Context(), "i-flood-17", keypair.Stopped), nil)
		for range before + 1 {
			m.end(nil)
		}
		wantCount(t, r, keypair.Running, before+2) // and i-1, which nobody has rebooted
		wantCount(t, r, keypair.Stopped, 1)
		if len(m.forced) != before+1 {
			t.Errorf("%d were restarted, want %d", len(m.forced), before+1)
		}
	})
}

func wantCount(t *testing.T, r *keypair.Region, status keypair.Status, want int) {
	t.Helper()
	found, err := r.Instances(t.Context(), keypair.InstanceFilter{Status: status})
	if err != nil || len(found) != want {
		t.Errorf("%d instances are %s (%v), want %d", len(found), status, err, want)
	}
}

// full is a store whose disk may be full.
type full struct {
	keypair.Store
	is atomic.Bool
}

var errFull = errors.New("disk is full")

func (f *full) Update(ctx context.Context, change func(keypair.Tx) error) error {
	if f.is.Load() {
		return errFull
	}
	return f.Store.Update(ctx, change)
}

func TestWhatBecameOfARestartIsWrittenOnceItCanBe(t *testing.T) {
	for _, test := range []struct {
		name     string
		err      error
		want     keypair.Status
		reported []string
	}{
		{"restarted", nil, keypair.Running, []string{"i-1: write that it is Running, which is tried again: disk is full"}},
		{"failed", errors.New("no power"), keypair.Stopped, []string{
			"i-1: no power", "i-1: write that it is Stopped, which is tried again: disk is full",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, store := &machine{ends: make(chan error)}, &full{Store: memstore.New()}
				r := openRegion(t, store, keypair.Options{Restart: m.restart, Report: m.report})
				register(t, r, linux("i-1", 1))
				wantErr(t, "reboot", r.Reboot(t.Context(), "i-1", false), nil)
				synctest.Wait()
				store.is.Store(true)
				m.end(test.err)
				time.Sleep(time.Hour) // the bubble's clock
				wantStatus(t, r, keypair.Starting)
				store.is.Store(false)
				time.Sleep(time.Minute)
				wantStatus(t, r, test.want)
				if diff := cmp.Diff(test.reported, m.reported); diff != "" {
					t.Errorf("reported (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestARegionOfAFullDiskCanBeClosed while it tries to write.
func TestARegionOfAFullDiskCanBeClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &full{Store: memstore.New()}
		r := openRegion(t, store, keypair.Options{Restart: func(context.Context, keypair.Instance, bool) error {
			store.is.Store(true)
			return nil
		}})
		register(t, r, linux("i-1", 1))
		wantErr(t, "reboot", r.Reboot(t.Context(), "i-1", false), nil)
		synctest.Wait()
		begin := time.Now()
		r.Close()
		if took := time.Since(begin); took != 0 {
			t.Errorf("took %s", took)
		}
	})
}

// TestARestartThatWasCutOffIsOverAtTheNextOpening closes the region in the middle of one.
func TestARestartThatWasCutOffIsOverAtTheNextOpening(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "region")
	store, begun, ended := openFile(t, folder), make(chan struct{}), make(chan struct{})
	restart := func(ctx context.Context, _ keypair.Instance, _ bool) error {
		close(begun)
		defer close(ended)
		<-ctx.Done()
		return ctx.Err()
	}
	r := openRegion(t, store, keypair.Options{Restart: restart})
	register(t, r, linux("i-1", 1))
	wantErr(t, "reboot", r.Reboot(t.Context(), "i-1", false), nil)
	<-begun
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
