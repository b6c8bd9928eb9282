package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// bootIn returns an instance that runs in a region, with latchkey in its image and
// nothing bound. config is the agent's, flags are of "keypaird instance add".
func bootIn(t *testing.T, config string, flags ...string) *region {
	t.Helper()
	i := newInstance(t)
	i.installInImage(deb(t, currentVersion))
	i.WriteFile("/etc/latchkey/latchkey.toml.d/50-test.toml", config, 0o644)
	r := newRegion(i, flags...)
	i.start()
	return r
}

func TestAKeyPairOfTheRegionLivesByTheAPI(t *testing.T) {
	r := bootIn(t, "")
	i := r.instance
	first := r.create("first")
	r.desk("keypair", "attach", "first", instanceID)
	i.wantOut("root", byKey(first))
	i.wantIn("root", byPassword(secret))
	r.reboot()
	i.wantBound("root", first)

	second := r.create("second")
	r.desk("keypair", "attach", "second", instanceID)
	i.wantIn("root", byKey(first))
	r.reboot()
	i.wantBound("root", second)
	i.wantOut("root", byKey(first))

	r.desk("keypair", "detach", "second", instanceID)
	i.wantIn("root", byKey(second))
	r.reboot()
	i.wantIn("root", byPassword(secret))
	i.wantOut("root", byKey(second))

	r.desk("keypair", "delete", "--yes", "first", "second")
	if left := r.desk("keypair", "list", "--output", "name"); strings.TrimSpace(left) != "" {
		t.Errorf("after the deletion there are\n%s", left)
	}
}

// TestALiveInstanceFollowsItsRegionAtOnce: with a poll of an hour, it is the watch by
// which it hears, also of a region that was away and knows its tokens no more.
func TestALiveInstanceFollowsItsRegionAtOnce(t *testing.T) {
	r := bootIn(t, "[apply]\nwhen = \"live\"\npoll = \"1h\"\n", "--http-tokens", "required")
	i := r.instance
	boot, agent := i.bootID(), i.property(agentUnit, "MainPID")
	first := r.create("first")
	r.desk("keypair", "attach", "first", instanceID)
	attached := time.Now()
	i.await("the key is in force", func() bool { return i.status().Password == "off" })
	heard := time.Since(attached)
	i.wantBound("root", first)

	r.kill()
	r.start()
	second := r.create("second")
	r.desk("keypair", "attach", "second", instanceID)
	attached = time.Now()
	i.await("the other key is in force", func() bool { return i.logOn("root", byKey(second)) == nil })
	fmt.Printf("from attach to the key in force: %v, after a crash of the region: %v\n",
		heard.Round(time.Millisecond), time.Since(attached).Round(time.Millisecond))
	i.wantBound("root", second)
	i.wantOut("root", byKey(first))

	r.desk("keypair", "detach", "second", instanceID)
	i.await("passwords are back", func() bool { return i.logOn("root", byPassword(secret)) == nil })
	i.await("the key is gone", func() bool { return i.logOn("root", byKey(second)) != nil })
	i.wantOut("root", byKey(second))
	if i.bootID() != boot || i.property(agentUnit, "MainPID") != agent {
		t.Error("instance or agent were restarted meanwhile")
	}
}
