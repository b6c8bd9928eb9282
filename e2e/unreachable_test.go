package e2e

import (
	"strconv"
	"testing"
	"time"
)

// bootWait is what apply.boot_wait is by default; startSlack is what the rest
// of the boot until sshd may take.
const (
	bootWait   = 10 * time.Second
	startSlack = 2 * time.Second
)

func TestADeadEndpointHoldsNothingBackAndCountsOnceItIsThere(t *testing.T) {
	for _, test := range []struct {
		name          string
		dies, returns func(*instance)
	}{
		{"packets are lost", func(i *instance) { i.network.lose() }, func(i *instance) { i.network.deliver() }},
		{"connections are refused", func(i *instance) { i.endpoint.stop() }, func(i *instance) { i.endpoint.start() }},
	} {
		t.Run(test.name, func(t *testing.T) {
			i, old := bootBound(t)
			i.shutDown()
			key := i.endpoint.bindNew("second")
			test.dies(i)
			i.start()
			if took := i.sinceBoot("ssh.service", "ActiveEnterTimestampMonotonic"); took > bootWait+startSlack {
				t.Errorf("sshd was up after %v", took)
			}
			i.wantIn("root", byKey(old)) // last known good
			i.wantOut("root", byKey(key), byPassword(secret))

			test.returns(i)
			i.await("the new key is in force", func() bool { return i.logOn("root", byKey(key)) == nil })
			i.await("the older is not", func() bool { return i.logOn("root", byKey(old)) != nil })
			i.wantBound("root", key)
		})
	}
}

// TestWithNothingKnownADeadEndpointLeavesTheInstanceAsItIs: at a first boot
// there is no last known good.
func TestWithNothingKnownADeadEndpointLeavesTheInstanceAsItIs(t *testing.T) {
	i := boot(t, func(i *instance) { i.network.lose() })
	i.wantIn("root", byPassword(secret))
	i.network.deliver()
	key := i.endpoint.bindNew("first")
	i.await("the key is in force", func() bool { return i.logOn("root", byKey(key)) == nil })
	i.await("passwords are off", func() bool { return i.status().Password == "off" })
	i.wantBound("root", key)
}

// sinceBoot is how long after the start of systemd something happened that a
// unit has a time stamp of.
func (i *instance) sinceBoot(unit, stamp string) time.Duration {
	i.t.Helper()
	return i.stamp(unit, stamp) - i.stamp("", "UserspaceTimestampMonotonic")
}

// stamp reads a monotonic time stamp of systemd's, which is in microseconds.
func (i *instance) stamp(unit, name string) time.Duration {
	i.t.Helper()
	micros, err := strconv.ParseInt(i.property(unit, name), 10, 64)
	if err != nil || micros == 0 {
		i.t.Fatalf("%s of %s: %d, %v", name, unit, micros, err)
	}
	return time.Duration(micros) * time.Microsecond
}

// TestASlowNetworkMountHoldsSSHDBackNoLongerThanBootWait: logons are allowed once
// network file systems are mounted, which may take for ever, and a logon user
// other than root can be proved to log in only then.
func TestASlowNetworkMountHoldsSSHDBackNoLongerThanBootWait(t *testing.T) {
	i := newInstance(t)
	i.installInImage(deb(t, currentVersion))
	key := i.endpoint.bindNew("first")
	i.endpoint.loginAs(ecsUser)
	i.WriteFile("/etc/systemd/system/mount.service", "[Unit]\nDefaultDependencies=no\nBefore=remote-fs.target\n"+
		"[Service]\nType=oneshot\nExecStart=sleep 14\n[Install]\nWantedBy=remote-fs.target\n", 0o644)
	i.Run(t, "systemctl", "enable", "mount.service", "remote-fs.target")
	i.start()
	if listens := i.sinceBoot("ssh.service", "ActiveEnterTimestampMonotonic"); listens > bootWait+2*time.Second {
		t.Errorf("sshd listened after %v", listens)
	}
	i.await("the key is proved, now that it can be", func() bool { return i.status().Password == "off" })
	i.wantBound(ecsUser, key)
}
