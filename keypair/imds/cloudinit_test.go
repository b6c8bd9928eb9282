package imds_test

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey-ssh/latchkey/keypair/imds"
)

// whole is an instance that has a value for everything.
func whole() imds.Instance {
	i := instance()
	i.Name, i.Type, i.ImageID, i.OwnerID, i.SerialNumber = "web", "ecs.g7.large", "debian_12", "1234567890", "4d2c-1"
	i.MAC, i.NetworkInterfaceID = "00:16:3e:00:00:01", "eni-bp1"
	i.SecondaryIPv4 = []netip.Addr{netip.MustParseAddr("192.168.0.11"), netip.MustParseAddr("192.168.0.12")}
	i.Netmask, i.Gateway, i.EIPv4 = "255.255.255.0", "192.168.0.253", "203.0.113.7"
	i.VPCID, i.VPCCIDRBlock = "vpc-bp1", "192.168.0.0/16"
	i.VSwitchID, i.VSwitchCIDRBlock = "vsw-bp1", "192.168.0.0/24"
	i.NameServers, i.NTPServers = []string{"100.100.2.136", "100.100.2.138"}, []string{"ntp1.example", "ntp2.example"}
	i.SourceAddress, i.LoginUser = "http://mirror.example", "ecs-user"
	i.UserData, i.VendorData = "#cloud-config\n", "#!/bin/sh\n"
	return i
}

// walk reads the tree below path as cloud-init 22.4.2 does: the listing, the directories in
// it first, then the leaves; what is not there is an error.
func walk(t *testing.T, h http.Handler, path string) map[string]any {
	t.Helper()
	listing := ask(h, "GET", path)
	if listing.Status != 200 {
		t.Errorf("GET %s: %d", path, listing.Status)
		return nil
	}
	names := strings.Split(listing.Body, "\n")
	slices.SortStableFunc(names, func(a, b string) int { return directoryFirst(a) - directoryFirst(b) })
	tree := map[string]any{}
	for _, name := range names {
		if key, ok := strings.CutSuffix(name, "/"); ok {
			tree[key] = walk(t, h, path+name)
			continue
		}
		leaf := ask(h, "GET", path+name)
		if leaf.Status != 200 {
			t.Errorf("GET %s: %d", path+name, leaf.Status)
		}
		tree[name] = leaf.Body
	}
	return tree
}

func directoryFirst(name string) int {
	if strings.HasSuffix(name, "/") {
		return 0
	}
	return 1
}

// bindings are the states in which each client of cloud-init's has to be content.
var bindings = []struct {
	name string
	bind func(*imds.Endpoint)
	keys any // what is at public-keys
}{
	{"bound", func(e *imds.Endpoint) { e.Bind("skp-bp1test", keyA) }, map[string]any{
		"0": map[string]any{"openssh-key": keyA}, "skp-bp1test": map[string]any{"openssh-key": keyA},
	}},
	{"unbound", func(*imds.Endpoint) {}, nil},
}

// Debian 12's cloud-init takes no token, and loses everything when one answer of the tree
// is not there.
func TestTheTreeWalkOfCloudInit22FindsAll(t *testing.T) {
	for _, binding := range bindings {
		t.Run(binding.name, func(t *testing.T) {
			e := imds.New(whole())
			binding.bind(e)
			check(t, ask(e, "GET", "/2016-01-01/meta-data/instance-id"), answer{200, "i-bp1test00001"})
			check(t, ask(e, "GET", "/2016-01-01/user-data"), answer{200, "#cloud-config\n"})
			got := walk(t, e, "/2016-01-01/meta-data/")
			check(t, got, wholeTree(binding.keys))
		})
	}
}

// The cloud-init of 2026 takes a token first, in either mode, and then everything at once.
func TestTheTokenWalkOfNewCloudInitFindsTheSame(t *testing.T) {
	for _, mode := range []string{imds.TokensOptional, imds.TokensRequired} {
		for _, binding := range bindings {
			t.Run(mode+" "+binding.name, func(t *testing.T) {
				i := whole()
				i.HTTPTokens, i.UserData, i.VendorData = mode, "", ""
				e := imds.New(i)
				binding.bind(e)
				token := ask(e, "PUT", "/latest/api/token", ttlHeader, "21600")
				check(t, token.Status, 200)
				check(t, ask(e, "GET", "/2016-01-01/user-data", tokenHeader, token.Body), answer{404, "Not Found"})
				check(t, ask(e, "GET", "/2016-01-01/vendor-data", tokenHeader, token.Body), answer{404, "Not Found"})
				var got map[string]any
				all := ask(e, "GET", "/2016-01-01/meta-data/all", tokenHeader, token.Body)
				if err := json.Unmarshal([]byte(all.Body), &got); err != nil {
					t.Fatal(err)
				}
				check(t, got, wholeTree(binding.keys))
			})
		}
	}
}

// wholeTree is meta-data/ of the whole instance.
func wholeTree(keys any) map[string]any {
	tree := map[string]any{
		"dns-conf":         map[string]any{"nameservers": "100.100.2.136\n100.100.2.138"},
		"eipv4":            "203.0.113.7",
		"hostname":         "web-1",
		"image-id":         "debian_12",
		"instance":         map[string]any{"instance-name": "web", "instance-type": "ecs.g7.large"},
		"instance-id":      "i-bp1test00001",
		"login-user":       "ecs-user",
		"mac":              "00:16:3e:00:00:01",
		"network":          map[string]any{"interfaces": map[string]any{"macs": map[string]any{"00:16:3e:00:00:01": wholeInterface()}}},
		"network-type":     "vpc",
		"ntp-conf":         map[string]any{"ntp-servers": "ntp1.example\nntp2.example"},
		"owner-account-id": "1234567890",
		"private-ipv4":     "192.168.0.10",
		"region-id":        "cn-hangzhou",
		"serial-number":    "4d2c-1",
		"source-address":   "http://mirror.example",

		"sub-private-ipv4-list": "192.168.0.11\n192.168.0.12",

		"vpc-cidr-block":     "192.168.0.0/16",
		"vpc-id":             "vpc-bp1",
		"vswitch-cidr-block": "192.168.0.0/24",
		"vswitch-id":         "vsw-bp1",
		"zone-id":            "cn-hangzhou-b",
	}
	if keys != nil {
		tree["public-keys"] = keys
	}
	return tree
}

func wholeInterface() map[string]any {
	return map[string]any{
		"gateway":              "192.168.0.253",
		"netmask":              "255.255.255.0",
		"network-interface-id": "eni-bp1",
		"primary-ip-address":   "192.168.0.10",
		"private-ipv4s":        "192.168.0.10\n192.168.0.11\n192.168.0.12",
		"vpc-cidr-block":       "192.168.0.0/16",
		"vpc-id":               "vpc-bp1",
		"vswitch-cidr-block":   "192.168.0.0/24",
		"vswitch-id":           "vsw-bp1",
	}
}

func TestTheIdentityDocumentNamesTheInstance(t *testing.T) {
	e := imds.New(whole())
	check(t, ask(e, "GET", "/latest/"), answer{200, "dynamic/\nmeta-data/\nuser-data\nvendor-data"})
	check(t, ask(e, "GET", "/latest/dynamic/"), answer{200, "instance-identity/"})
	var got map[string]string
	text := ask(e, "GET", "/latest/dynamic/instance-identity/document").Body
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	check(t, got, map[string]string{
		"image-id": "debian_12", "instance-id": "i-bp1test00001", "instance-type": "ecs.g7.large",
		"mac": "00:16:3e:00:00:01", "owner-account-id": "1234567890", "private-ipv4": "192.168.0.10",
		"region-id": "cn-hangzhou", "serial-number": "4d2c-1", "zone-id": "cn-hangzhou-b",
	})
}

func TestWhatTheCallerKeepsOfAnInstanceChangesNothing(t *testing.T) {
	i := whole()
	e := imds.New(i)
	i.NameServers[0] = "changed"
	got := e.Instance()
	got.NTPServers[0], got.SecondaryIPv4[0] = "changed", netip.Addr{}
	check(t, ask(e, "GET", "/latest/meta-data/dns-conf/nameservers"), answer{200, "100.100.2.136\n100.100.2.138"})
	check(t, ask(e, "GET", "/latest/meta-data/ntp-conf/ntp-servers"), answer{200, "ntp1.example\nntp2.example"})
	check(t, ask(e, "GET", "/latest/meta-data/sub-private-ipv4-list"), answer{200, "192.168.0.11\n192.168.0.12"})
}
