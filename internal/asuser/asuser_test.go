package asuser_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/internal/asuser"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// somebody is a user without an account: ids are enough for the kernel.
var somebody = asuser.Credentials{UID: 54321, GID: 54322, Groups: []int{54323, 54324}}

func self() asuser.Credentials {
	groups, _ := os.Getgroups()
	return asuser.Credentials{UID: os.Geteuid(), GID: os.Getegid(), Groups: groups}
}

func TestFunctionHasTheUsersCredentialsAndNoCapability(t *testing.T) {
	testmachine.RequireRoot(t)
	var status map[string]string
	err := asuser.Do(t.Context(), somebody, func() (err error) {
		status, err = threadStatus()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"Uid":    "0 54321 0 54321", // real, effective, saved, file system
		"Gid":    "0 54322 0 54322",
		"Groups": "54323 54324",
		"CapEff": "0000000000000000",
	}
	if diff := cmp.Diff(want, status); diff != "" {
		t.Error(diff)
	}
}

func threadStatus() (map[string]string, error) {
	data, err := os.ReadFile("/proc/thread-self/status")
	fields := make(map[string]string)
	for line := range strings.Lines(string(data)) {
		name, value, _ := strings.Cut(line, ":")
		switch name {
		case "Uid", "Gid", "Groups", "CapEff":
			fields[name] = strings.Join(strings.Fields(value), " ")
		}
	}
	return fields, err
}

func TestNoOtherThreadIsTouched(t *testing.T) {
	testmachine.RequireRoot(t)
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			err := asuser.Do(t.Context(), somebody, func() error {
				runtime.Gosched()
				return checkEUID(somebody.UID)
			})
			if err != nil {
				t.Error(err)
			}
			if err := checkEUID(0); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	tasks, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		waitGoneOrRoot(t, task)
	}
}

// waitGoneOrRoot waits for a thread whose goroutine has returned to end.
func waitGoneOrRoot(t *testing.T, status string) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for time.Now().Before(deadline) {
		data, err := os.ReadFile(status)
		if err != nil || strings.Contains(string(data), "\nUid:\t0\t0\t0\t0\n") {
			return
		}
		runtime.Gosched()
	}
	t.Errorf("%s: the thread lives on with a user's credentials", status)
}

func checkEUID(want int) error {
	if got := unix.Geteuid(); got != want {
		return fmt.Errorf("effective uid %d, want %d", got, want)
	}
	return nil
}

func TestFunctionNeverRunsOnTheMainThread(t *testing.T) {
	for range 200 {
		err := asuser.Do(t.Context(), self(), func() error {
			if unix.Gettid() == os.Getpid() {
				return errors.New("this is the main thread")
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestRootsFilesAreClosedToTheFunction(t *testing.T) {
	testmachine.RequireRoot(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := asuser.Do(t.Context(), somebody, func() error {
		_, err := os.ReadFile(secret)
		return err
	})
	if !errors.Is(err, os.ErrPermission) {
		t.Errorf("got %v, want permission denied", err)
	}
}

func TestPanicBecomesAnError(t *testing.T) {
	err := asuser.Do(t.Context(), self(), func() error { panic("out of range") })
	if err == nil || !strings.Contains(err.Error(), "out of range") {
		t.Errorf("got %v", err)
	}
}

func TestFunctionThatEndsItsGoroutineIsAnError(t *testing.T) {
	err := asuser.Do(t.Context(), self(), func() error {
		runtime.Goexit()
		return nil
	})
	if err == nil {
		t.Error("no error")
	}
}

func TestHangingFunctionIsLeftAndItsUserRefusedUntilItEnds(t *testing.T) {
	me := self()
	release := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	err := asuser.Do(ctx, me, func() error {
		cancel()
		<-release
		return nil
	})
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("hanging: %v", err)
	}
	nothing := func() error { return nil }
	short, end := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer end()
	if err := asuser.Do(short, me, nothing); !errors.Is(err, asuser.ErrStillHanging) {
		t.Errorf("while it hangs: %v, want %v", err, asuser.ErrStillHanging)
	}
	close(release)
	patient, end := context.WithTimeout(t.Context(), 5*time.Second)
	defer end()
	if err := asuser.Do(patient, me, nothing); err != nil {
		t.Errorf("after it ended: %v", err)
	}
}

func TestEndedContextStartsNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := asuser.Do(ctx, self(), func() error {
		t.Error("ran")
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestWithoutPrivilege runs the test below as a user. Its program is opened
// before the ids change: the folder it is in may be root's alone.
func TestWithoutPrivilege(t *testing.T) {
	testmachine.RequireRoot(t)
	program, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	command := exec.Command("/proc/self/fd/3", "-test.run=^TestUnprivileged$", "-test.v")
	command.ExtraFiles = []*os.File{program}
	command.Dir = "/"
	command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{
		Uid: uint32(somebody.UID), Gid: uint32(somebody.GID), NoSetGroups: true,
	}}
	out, err := command.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestUnprivileged") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestUnprivileged(t *testing.T) {
	if os.Geteuid() == 0 {
		return // TestWithoutPrivilege runs it
	}
	err := asuser.Do(t.Context(), self(), func() error { return checkEUID(os.Geteuid()) })
	if err != nil {
		t.Errorf("as oneself: %v", err)
	}
	other := asuser.Credentials{UID: os.Geteuid() + 1, GID: os.Getegid()}
	err = asuser.Do(t.Context(), other, func() error {
		t.Error("ran as another user")
		return nil
	})
	if !errors.Is(err, asuser.ErrNotPermitted) {
		t.Errorf("as another: %v, want %v", err, asuser.ErrNotPermitted)
	}
}

func BenchmarkDo(b *testing.B) {
	testmachine.RequireRoot(b)
	for b.Loop() {
		if err := asuser.Do(b.Context(), somebody, func() error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
