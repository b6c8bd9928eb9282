package keypair_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/latchkey-ssh/latchkey/keypair"
)

func TestWhatIsEmptyInAnInstanceIsFilledIn(t *testing.T) {
	onBothStores(t, func(t *testing.T, r *keypair.Region) {
		importPair(t, r, "mine")
		made, err := r.Register(t.Context(), keypair.Instance{ID: "i-1", KeyPairName: "mine", CreatedAt: time.Unix(1, 0)})
		if err != nil {
			t.Fatal(err)
		}
		want := keypair.Instance{
			ID: "i-1", Name: "i-1", HostName: "i-1", OSType: keypair.Linux, Status: keypair.Running,
			Metadata: keypair.MetadataOptions{HTTPEndpoint: keypair.Enabled, HTTPTokens: keypair.Optional, HTTPPutResponseHopLimit: 1},
		}
		if diff := cmp.Diff(want, made, cmpopts.IgnoreFields(want, "CreatedAt")); diff != "" {
			t.Errorf("registered (-want +got):\n%s", diff)
		}
		if age := time.Since(made.CreatedAt); age < 0 || age > time.Minute {
			t.Errorf("registered at %s", made.CreatedAt)
		}
		stored, err := r.Instance(t.Context(), "i-1")
		if diff := cmp.Diff(made, stored, cmpopts.EquateComparable(netip.Addr{})); diff != "" || err != nil {
			t.Errorf("stored (-registered +stored, %v):\n%s", err, diff)
		}
	})
}

func TestAnInstanceThatCannotBeIsRefused(t *testing.T) {
	r := inMemory(t)
	edits := map[string]func(*keypair.Instance){
		"no id":                    func(i *keypair.Instance) { i.ID = "" },
		"an id of another kind":    func(i *keypair.Instance) { i.ID = "1" },
		"an id with a slash":       func(i *keypair.Instance) { i.ID = "i-1/2" },
		"an id with a newline":     func(i *keypair.Instance) { i.ID = "i-1\n" },
		"a long id":                func(i *keypair.Instance) { i.ID = "i-" + strings.Repeat("a", 63) },
		"another system":           func(i *keypair.Instance) { i.OSType = "beos" },
		"another status":           func(i *keypair.Instance) { i.Status = "running" },
		"a logon user with spaces": func(i *keypair.Instance) { i.LoginUser = "a b" },
		"a logon user with a path": func(i *keypair.Instance) { i.LoginUser = "../root" },
		"an endpoint that is on":   func(i *keypair.Instance) { i.Metadata.HTTPEndpoint = "on" },
		"tokens that are on":       func(i *keypair.Instance) { i.Metadata.HTTPTokens = "on" },
		"65 hops":                  func(i *keypair.Instance) { i.Metadata.HTTPPutResponseHopLimit = 65 },
		"less than no hops":        func(i *keypair.Instance) { i.Metadata.HTTPPutResponseHopLimit = -1 },
		"a name of two lines":      func(i *keypair.Instance) { i.Name = "a\nb" },
		"a host name with NUL":     func(i *keypair.Instance) { i.HostName = "a\x00" },
		"a long type":              func(i *keypair.Instance) { i.Type = strings.Repeat("a", 257) },
		"a MAC that is none":       func(i *keypair.Instance) { i.MAC = "00:16:3e" },
		"an eight-byte MAC":        func(i *keypair.Instance) { i.MAC = "00:16:3e:00:00:01:02:03" },
		"the address 0.0.0.0":      func(i *keypair.Instance) { i.Addresses = []netip.Addr{netip.IPv4Unspecified()} },
		"no address":               func(i *keypair.Instance) { i.Addresses = []netip.Addr{{}} },
		"a zoned address":          func(i *keypair.Instance) { i.Addresses = []netip.Addr{netip.MustParseAddr("fe80::1%eth0")} },
		"an IPv4 address in IPv6":  func(i *keypair.Instance) { i.Addresses = []netip.Addr{netip.MustParseAddr("::ffff:10.0.0.1")} },
	}
	for name, edit := range edits {
		instance := linux("i-1", 1)
		edit(&instance)
		_, err := r.Register(t.Context(), instance)
		wantErr(t, name, err, keypair.ErrInstanceInvalid)
	}
	all, err := r.Instances(t.Context(), keypair.InstanceFilter{})
	if err != nil || len(all) != 0 {
		t.Errorf("%v are registered (%v)", all, err)
	}
}

func TestIDsAndAddressesAreThereOnce(t *testing.T) {
	onBothStores(t, func(t *testing.T, r *keypair.Region) {
		one, six := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")
		register(t, r, keypair.Instance{ID: "i-1", Addresses: []netip.Addr{one, six}})
		_, err := r.Register(t.Context(), keypair.Instance{ID: "i-1"})
		wantErr(t, "the same id", err, keypair.ErrInstanceExists)
		for _, address := range []netip.Addr{one, six} {
			_, err = r.Register(t.Context(), keypair.Instance{ID: "i-2", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.2"), address}})
			wantErr(t, "the address "+address.String(), err, keypair.ErrInstanceInvalid)
			if err == nil || !strings.Contains(err.Error(), "i-1") {
				t.Errorf("error %v does not name who has the address", err)
			}
		}
		register(t, r, linux("i-3", 2)) // what i-2 was refused with is not taken
		wantErr(t, "remove", r.Remove(t.Context(), "i-1"), nil)
		register(t, r, keypair.Instance{ID: "i-2", Addresses: []netip.Addr{six, one}})
	})
}

func TestARemovedInstanceIsForgottenWithItsBinding(t *testing.T) {
	onBothStores(t, func(t *testing.T, r *keypair.Region) {
		importPair(t, r, "mine")
		register(t, r, linux("i-1", 1))
		attach(t, r, "mine", "i-1")
		wantErr(t, "remove", r.Remove(t.Context(), "i-1"), nil)
		for name, do := range map[string]func() error{
			"remove":     func() error { return r.Remove(t.Context(), "i-1") },
			"look up":    func() error { _, err := r.Instance(t.Context(), "i-1"); return err },
			"look bound": func() error { _, _, err := r.Bound(t.Context(), "i-1"); return err },
			"reboot":     func() error { return r.Reboot(t.Context(), "i-1", false) },
			"set status": func() error { return r.SetStatus(t.Context(), "i-1", keypair.Stopped) },
		} {
			wantErr(t, name, do(), keypair.ErrInstanceNotFound)
		}
		register(t, r, linux("i-1", 1))
		if got := boundTo(t, r, "i-1"); got != "" {
			t.Errorf("%q is bound to the new one", got)
		}
	})
}

func TestFiltersChooseInstances(t *testing.T) {
	inABubble(t, func(t *testing.T, r *keypair.Region) {
		importPair(t, r, "mine")
		for i, id := range []string{"i-c", "i-b", "i-a"} {
			register(t, r, linux(id, i))
			time.Sleep(time.Second) // the bubble's clock
		}
		attach(t, r, "mine", "i-b", "i-c")
		wantErr(t, "stop", r.SetStatus(t.Context(), "i-c", keypair.Stopped), nil)
		cases := map[string]struct {
			filter keypair.InstanceFilter
			want   []string
		}{
			"all":            {keypair.InstanceFilter{}, []string{"i-c", "i-b", "i-a"}},
			"some":           {keypair.InstanceFilter{IDs: []string{"i-a", "i-gone", "i-c", "i-a", ""}}, []string{"i-c", "i-a"}},
			"none of these":  {keypair.InstanceFilter{IDs: []string{"i-gone"}}, []string{}},
			"bound":          {keypair.InstanceFilter{KeyPairName: "mine"}, []string{"i-c", "i-b"}},
			"running":        {keypair.InstanceFilter{Status: keypair.Running}, []string{"i-b", "i-a"}},
			"bound, running": {keypair.InstanceFilter{KeyPairName: "mine", Status: keypair.Running}, []string{"i-b"}},
			"one, not bound": {keypair.InstanceFilter{IDs: []string{"i-a"}, KeyPairName: "mine"}, []string{}},
		}
		for name, test := range cases {
			found, err := r.Instances(t.Context(), test.filter)
			got := []string{}
			for _, instance := range found {
				got = append(got, instance.ID)
			}
			if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
				t.Errorf("%s (-want +got, %v):\n%s", name, err, diff)
			}
		}
	})
}

func TestAChangedInstanceKeepsItsBindingAndItsStatus(t *testing.T) {
	onBothStores(t, func(t *testing.T, r *keypair.Region) {
		importPair(t, r, "mine")
		register(t, r, linux("i-1", 1))
		register(t, r, linux("i-2", 2))
		attach(t, r, "mine", "i-1")
		wantErr(t, "set status", r.SetStatus(t.Context(), "i-1", keypair.Stopped), nil)
		before, err := r.Instance(t.Context(), "i-1")
		wantErr(t, "look up", err, nil)

		want := before
		want.LoginUser, want.Addresses = "ecs-user", []netip.Addr{netip.MustParseAddr("10.9.9.9")}
		asked := want
		asked.KeyPairName, asked.Status, asked.CreatedAt = "", keypair.Running, time.Time{}
		got, err := r.Change(t.Context(), asked)
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" || err != nil {
			t.Errorf("changed (-want +got, %v):\n%s", err, diff)
		}
		taken := linux("i-2", 2)
		taken.Addresses = want.Addresses
		_, err = r.Change(t.Context(), taken)
		wantErr(t, "take an address", err, keypair.ErrInstanceInvalid)
		free := linux("i-3", 3)
		free.Addresses = before.Addresses
		register(t, r, free) // the address of before is nobody's now
		asked.OSType = keypair.Windows
		_, err = r.Change(t.Context(), asked)
		wantErr(t, "become Windows while a pair is bound", err, keypair.ErrWindows)
		_, err = r.Change(t.Context(), linux("i-none", 4))
		wantErr(t, "change nobody", err, keypair.ErrInstanceNotFound)
	})
}

func TestAResourceGroupGoesWhenNoKeyPairIsInIt(t *testing.T) {
	r := inMemory(t)
	wantErr(t, "add", r.AddResourceGroup(t.Context(), keypair.ResourceGroup{ID: "rg-a"}), nil)
	_, _, err := r.CreateKeyPair(t.Context(), keypair.NewKeyPair{Name: "mine", ResourceGroupID: "rg-a"}, keypair.Ed25519)
	wantErr(t, "create", err, nil)
	wantErr(t, "remove", r.RemoveResourceGroup(t.Context(), "rg-a"), keypair.ErrResourceGroupUsed)
	wantErr(t, "delete", r.DeleteKeyPairs(t.Context(), []string{"mine"}), nil)
	wantErr(t, "remove", r.RemoveResourceGroup(t.Context(), "rg-a"), nil)
	wantErr(t, "remove again", r.RemoveResourceGroup(t.Context(), "rg-a"), keypair.ErrResourceGroupNotFound)
	wantErr(t, "remove none", r.RemoveResourceGroup(t.Context(), ""), keypair.ErrResourceGroupNotFound)
}
