package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// Where things are on the network, as in ECS.
const (
	endpointAddress = "100.100.100.200"
	cloudAddress    = "192.168.77.1"
	instanceAddress = "192.168.77.10"
)

// network is a cable with the instance at one end and the cloud at the other.
// Both ends are network namespaces without a name: these files keep them alive.
type network struct {
	t               *testing.T
	instance, cloud *os.File
}

// newNetwork lays the cable. It is gone with the test.
func newNetwork(t *testing.T) *network {
	t.Helper()
	testmachine.RequireProgram(t, "ip")
	testmachine.RequireProgram(t, "nsenter")
	n := &network{t, newNamespace(t), newNamespace(t)}
	n.ip(n.cloud, "link", "add", "cloud0", "type", "veth", "peer", "name", "host0", "netns", path(n.instance))
	n.ip(n.cloud, "address", "add", cloudAddress+"/24", "dev", "cloud0")
	n.ip(n.cloud, "address", "add", endpointAddress+"/32", "dev", "cloud0")
	n.ip(n.cloud, "link", "set", "cloud0", "up")
	n.ip(n.cloud, "link", "set", "lo", "up")
	n.ip(n.instance, "link", "set", "lo", "up")
	n.ip(n.instance, "address", "add", instanceAddress+"/24", "dev", "host0")
	n.ip(n.instance, "link", "set", "host0", "up")
	n.ip(n.instance, "route", "add", endpointAddress, "dev", "host0")
	return n
}

// newNamespace makes a network namespace.
func newNamespace(t *testing.T) *os.File {
	t.Helper()
	var namespace *os.File
	err := onThread(func() (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			namespace, err = os.Open("/proc/thread-self/ns/net")
		}
		return err
	})
	if err != nil {
		t.Fatalf("make a network namespace: %v", err)
	}
	t.Cleanup(func() { _ = namespace.Close() })
	return namespace
}

// within runs f in a network namespace. A socket stays in the one it was made in.
func within(namespace *os.File, f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter a network namespace: %w", err)
		}
		return f()
	})
}

// onThread runs f on a thread that ends with it: it may change what belongs to
// a thread.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked
		done <- f()
	}()
	return <-done
}

// path is where other processes find a file of this one.
func path(file *os.File) string {
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), file.Fd())
}

// ip runs ip(8) in a namespace.
func (n *network) ip(namespace *os.File, args ...string) {
	n.t.Helper()
	cmd := at(namespace, exec.Command("ip", args...))
	if out, err := cmd.CombinedOutput(); err != nil {
		n.t.Fatalf("ip %q: %v\n%s", args, err, out)
	}
}

// at has a command run in a network namespace.
func at(namespace *os.File, cmd *exec.Cmd) *exec.Cmd {
	entered := exec.Command("nsenter", slices.Concat([]string{"--net=" + path(namespace), cmd.Path}, cmd.Args[1:])...)
	entered.Env = cmd.Env
	return entered
}

// lose has every packet from the endpoint lost, so that to ask it is to wait.
func (n *network) lose() {
	n.t.Helper()
	n.ip(n.cloud, "rule", "add", "from", endpointAddress, "blackhole")
}

// deliver ends lose.
func (n *network) deliver() {
	n.t.Helper()
	n.ip(n.cloud, "rule", "delete", "from", endpointAddress, "blackhole")
}
