package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/internal/account"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// TestWhatAUserPutsInTheHomeLeadsNowhereElse lets a hostile logon user swap the
// keys file and its folder for links and FIFOs, as fast as can be, while keys
// are bound and unbound.
func TestWhatAUserPutsInTheHomeLeadsNowhereElse(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.config.Apply.Password = LeavePassword
	r.AuthorizedKeys(testUser)
	r.wrapSSHD(`case "$*" in *-i*) exit 1;; esac`) // the proofs are not what is tested
	folders := []string{"/etc", "/root", "/usr/lib/real"}
	before := r.traces(folders...)
	stop := r.startMischief()
	keys := []testmachine.Key{testmachine.NewKey(t, "ed25519"), testmachine.NewKey(t, "ed25519")}
	const passes = 200
	var longest time.Duration
	finished := 0
	for i := range passes {
		seen := bound(t, keys[i%2])
		if i%4 == 3 {
			seen = unbound()
		}
		start := time.Now()
		_, err := r.agent().Pass(context.Background(), seen, How{Now: true})
		longest = max(longest, time.Since(start))
		if err == nil {
			finished++
		}
	}
	stop()
	if longest > homeTimeout/2 {
		t.Errorf("the longest pass took %v", longest)
	}
	r.wantUntouched(before, folders...)
	if finished == 0 || finished == passes {
		t.Errorf("%d of %d passes came to their end, want the user in the way of some", finished, passes)
	}
	r.remove("/home/" + testUser + "/.ssh")
	r.pass(bound(t, keys[0]), How{Now: true})
	if holds, n := r.blockHolds(keys[0]); !holds || n != 1 {
		t.Errorf("afterwards the block holds the key: %v, of %d; want it alone", holds, n)
	}
}

// TestAFIFOInThePlaceOfTheKeysFolderDoesNotHang: opening one waits for a writer
// unless told not to.
func TestAFIFOInThePlaceOfTheKeysFolderDoesNotHang(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.asUser("mkfifo .ssh")
	start := time.Now()
	_, err := r.agent().Pass(context.Background(), bound(t, testmachine.NewKey(t, "ed25519")), How{})
	if took := time.Since(start); err == nil || took > homeTimeout/2 {
		t.Errorf("pass: %v after %v, want an error at once", err, took)
	}
}

// startMischief lets the logon user do mischief in the home, until stop.
func (r *rig) startMischief() (stop func()) {
	r.t.Helper()
	user, err := account.Lookup(r.Root, testUser)
	if err != nil {
		r.t.Fatal(err)
	}
	cmd := send(r.t, errand{Mischief: r.Path(user.Home)})
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(user.UID), Gid: uint32(user.GID)}}
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	stop = func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	r.t.Cleanup(stop)
	return stop
}

// mischief puts one thing after another in the place of the keys file and of
// its folder.
func mischief(home string) {
	folder := filepath.Join(home, ".ssh")
	file := filepath.Join(folder, "authorized_keys")
	tricks := []func() error{
		func() error { return errors.Join(os.RemoveAll(folder), os.Symlink("/etc/ssh", folder)) },
		func() error { return errors.Join(os.RemoveAll(folder), unix.Mkfifo(folder, 0o600)) },
		func() error { return errors.Join(os.RemoveAll(folder), os.WriteFile(folder, []byte("x"), 0o600)) },
		func() error { return errors.Join(os.RemoveAll(folder), os.Mkdir(folder, 0o700)) },
		func() error { return errors.Join(os.Remove(file), os.Symlink("/etc/shadow", file)) },
		func() error { return errors.Join(os.Remove(file), unix.Mkfifo(file, 0o600)) },
		func() error { return errors.Join(os.Remove(file), os.Mkdir(file, 0o700)) },
		func() error { return errors.Join(os.Remove(file), os.Symlink(file, file)) },
		func() error { return errors.Join(os.Remove(file), os.WriteFile(file, []byte("# mine\n"), 0o600)) },
		func() error { return os.Rename(folder, folder+".old") },
		func() error { return errors.Join(os.RemoveAll(folder), os.Rename(folder+".old", folder)) },
	}
	for i := 0; ; i++ {
		_ = tricks[(i*7)%len(tricks)]()
	}
}
