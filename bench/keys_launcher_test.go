package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// buildProgram builds a program as the Makefile does.
func buildProgram(tb testing.TB, folder string) (path string) {
	tb.Helper()
	path = filepath.Join(tb.TempDir(), filepath.Base(folder))
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, folder)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		tb.Fatalf("build %s: %v\n%s", folder, err, out)
	}
	return path
}

// launcher is testdata/launcher, which runs and measures programs.
type launcher struct {
	program string
	conn    *os.File
}

// run is how one run of a program went.
type run struct {
	took   time.Duration
	cpu    time.Duration // on any processor
	peakKB int
	out    string
}

// startLauncher starts a launcher in the network of the calling thread.
func startLauncher(b *testing.B, program string) (*launcher, error) {
	b.Helper()
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	theirs := os.NewFile(uintptr(ends[1]), "launcher")
	defer theirs.Close()
	l := &launcher{program, os.NewFile(uintptr(ends[0]), "launcher")}
	cmd := exec.Command(program)
	cmd.Stdin, cmd.Stderr = theirs, os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	b.Cleanup(func() {
		_ = l.conn.Close()
		_ = cmd.Wait()
	})
	return l, nil
}

// run runs a program below root, or where it is if root is "". It must succeed.
func (l *launcher) run(root string, argv []string) (run, error) {
	if _, err := l.conn.WriteString(root + "\x00" + strings.Join(argv, "\x00")); err != nil {
		return run{}, err
	}
	answer := make([]byte, 64<<10)
	n, err := l.conn.Read(answer)
	if err != nil {
		return run{}, fmt.Errorf("run %s: %w", argv[0], err)
	}
	return parseRun(answer[:n], argv)
}

// runFresh runs it by a fresh launcher, whose own memory hides the least.
func (l *launcher) runFresh(root string, argv []string) (run, error) {
	outer, err := l.run("", append([]string{l.program, root}, argv...))
	if err != nil {
		return run{}, err
	}
	return parseRun([]byte(outer.out), argv)
}

func parseRun(answer []byte, argv []string) (run, error) {
	head, out, _ := bytes.Cut(answer, []byte("\n"))
	r := run{out: string(out)}
	var took, cpu, status int
	if _, err := fmt.Sscan(string(head), &took, &cpu, &r.peakKB, &status); err != nil {
		return run{}, fmt.Errorf("run %s: %w", argv[0], err)
	}
	if status != 0 {
		return run{}, fmt.Errorf("run %s: wait status %#x: %s", argv[0], status, out)
	}
	r.took, r.cpu = time.Duration(took)*time.Microsecond, time.Duration(cpu)*time.Microsecond
	return r, nil
}

// ownNetwork calls do with a network that has the address and nothing else: that
// of all sockets made and programs started in do, by its own goroutine.
func ownNetwork(address [4]byte, do func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for ever: the thread, and its network, go with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = setLoopback(address)
		}
		if err == nil {
			err = do()
		}
		done <- err
	}()
	return <-done
}

// setLoopback gives the loopback interface an address; 127.0.0.1 comes by itself
// (netdevice(7)).
func setLoopback(address [4]byte) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	up, upErr := unix.NewIfreq("lo")
	second, secondErr := unix.NewIfreq("lo:1")
	if err := errors.Join(upErr, secondErr, second.SetInet4Addr(address[:])); err != nil {
		return err
	}
	up.SetUint16(unix.IFF_UP)
	return errors.Join(
		unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, up),
		unix.IoctlIfreq(fd, unix.SIOCSIFADDR, second))
}

// evict takes a file out of the page cache.
func evict(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := syscall.Fsync(int(f.Fd())); err != nil {
		return err
	}
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}
