package imds

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
)

// versions are the two names of the one tree.
var versions = []string{"2016-01-01", "latest"}

// leaf is one value of the tree, by its path below the version. In the path, [mac] stands for
// the address of the network interface and [pair] for the key pair.
type leaf struct {
	path  string
	value func(*Instance) string // empty: not there
}

const (
	keysPath = "meta-data/public-keys"
	macPath  = "meta-data/network/interfaces/macs/[mac]/"
)

// leaves are the tree. Nothing is kept of it for an instance: a listing is made when it is
// asked for.
var leaves = []leaf{
	{"dynamic/instance-identity/document", (*Instance).identity},
	{"meta-data/dns-conf/nameservers", func(i *Instance) string { return lines(i.NameServers) }},
	{"meta-data/eipv4", func(i *Instance) string { return i.EIPv4 }},
	{"meta-data/hostname", func(i *Instance) string { return i.Hostname }},
	{"meta-data/image-id", func(i *Instance) string { return i.ImageID }},
	{"meta-data/instance-id", func(i *Instance) string { return i.ID }},
	{"meta-data/instance/instance-name", func(i *Instance) string { return i.Name }},
	{"meta-data/instance/instance-type", func(i *Instance) string { return i.Type }},
	{"meta-data/login-user", func(i *Instance) string { return i.LoginUser }},
	{"meta-data/mac", func(i *Instance) string { return i.MAC }},
	{"meta-data/network-type", func(*Instance) string { return "vpc" }},
	{macPath + "gateway", func(i *Instance) string { return i.Gateway }},
	{macPath + "netmask", func(i *Instance) string { return i.Netmask }},
	{macPath + "network-interface-id", func(i *Instance) string { return i.NetworkInterfaceID }},
	{macPath + "primary-ip-address", func(i *Instance) string { return i.PrivateIPv4 }},
	{macPath + "private-ipv4s", (*Instance).privateIPv4s},
	{macPath + "vpc-cidr-block", func(i *Instance) string { return i.VPCCIDRBlock }},
	{macPath + "vpc-id", func(i *Instance) string { return i.VPCID }},
	{macPath + "vswitch-cidr-block", func(i *Instance) string { return i.VSwitchCIDRBlock }},
	{macPath + "vswitch-id", func(i *Instance) string { return i.VSwitchID }},
	{"meta-data/ntp-conf/ntp-servers", func(i *Instance) string { return lines(i.NTPServers) }},
	{"meta-data/owner-account-id", func(i *Instance) string { return i.OwnerID }},
	{"meta-data/private-ipv4", func(i *Instance) string { return i.PrivateIPv4 }},
	{keysPath + "/0/openssh-key", func(i *Instance) string { return i.PublicKey }},
	{keysPath + "/[pair]/openssh-key", func(i *Instance) string { return i.PublicKey }},
	{"meta-data/region-id", func(i *Instance) string { return i.RegionID }},
	{"meta-data/serial-number", func(i *Instance) string { return i.SerialNumber }},
	{"meta-data/source-address", func(i *Instance) string { return i.SourceAddress }},
	{"meta-data/sub-private-ipv4-list", func(i *Instance) string { return addresses(i.SecondaryIPv4) }},
	{"meta-data/vpc-cidr-block", func(i *Instance) string { return i.VPCCIDRBlock }},
	{"meta-data/vpc-id", func(i *Instance) string { return i.VPCID }},
	{"meta-data/vswitch-cidr-block", func(i *Instance) string { return i.VSwitchCIDRBlock }},
	{"meta-data/vswitch-id", func(i *Instance) string { return i.VSwitchID }},
	{"meta-data/zone-id", func(i *Instance) string { return i.ZoneID }},
	{"user-data", func(i *Instance) string { return i.UserData }},
	{"vendor-data", func(i *Instance) string { return i.VendorData }},
}

// fixed are the leaves that have the same path for every instance. "all" is in no listing:
// a client that walks the tree has it all already.
var fixed = func() map[string]func(*Instance) string {
	fixed := map[string]func(*Instance) string{"meta-data/all": (*Instance).all}
	for _, l := range leaves {
		if !strings.Contains(l.path, "[") {
			fixed[l.path] = l.value
		}
	}
	return fixed
}()

// at is the leaf's path for the instance, or empty when it has none.
func (l leaf) at(i *Instance) string {
	before, name, named := strings.Cut(l.path, "[")
	if !named {
		return l.path
	}
	name, after, _ := strings.Cut(name, "]")
	stands := i.MAC
	if name == "pair" {
		stands = i.pairDirectory()
	}
	if stands == "" {
		return ""
	}
	return before + stands + after
}

// pairDirectory is the second place of the key: below the pair's own name.
func (i *Instance) pairDirectory() string {
	if i.KeyPairName != "" {
		return i.KeyPairName
	}
	return i.KeyPairID
}

// find returns the value of a leaf by its path below the version, or the listing of a
// directory, whose final slash may be missing: one name a line, sorted, directories with a
// slash.
func (i *Instance) find(path string) (string, bool) {
	if value, ok := fixed[path]; ok {
		text := value(i)
		return text, text != ""
	}
	return i.search(path)
}

// search looks for the path among the leaves that are the instance's own, and for what is
// below it.
func (i *Instance) search(path string) (string, bool) {
	directory := path
	if directory != "" && !strings.HasSuffix(directory, "/") {
		directory += "/"
	}
	var names []string
	for _, l := range leaves {
		at := l.at(i)
		below, within := strings.CutPrefix(at, directory)
		if at == "" || at != path && !within {
			continue
		}
		value := l.value(i)
		if at == path {
			return value, value != ""
		}
		if value != "" {
			names = append(names, firstStep(below))
		}
	}
	slices.Sort(names)
	return lines(slices.Compact(names)), len(names) > 0
}

// firstStep is the first name of a path, with its slash if more follows.
func firstStep(path string) string {
	if end := strings.IndexByte(path, '/'); end >= 0 {
		return path[:end+1]
	}
	return path
}

// withoutVersion returns the path below the version; that of the version itself is empty.
func withoutVersion(path string) (string, bool) {
	version, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return rest, slices.Contains(versions, version)
}

// onKeys reports whether the path below the version is public-keys/ or below it.
func onKeys(path string) bool {
	rest, ok := strings.CutPrefix(path, keysPath)
	return ok && (rest == "" || rest[0] == '/')
}

// all is the whole of meta-data/ as one JSON object, directories as objects within.
func (i *Instance) all() string {
	root := map[string]any{}
	for _, l := range leaves {
		path, ok := strings.CutPrefix(l.at(i), "meta-data/")
		if value := l.value(i); ok && value != "" {
			put(root, strings.Split(path, "/"), value)
		}
	}
	return marshal(root)
}

// put puts the value into the directory that the steps before the last lead to.
func put(directory map[string]any, steps []string, value string) {
	if len(steps) == 1 {
		directory[steps[0]] = value
		return
	}
	next, ok := directory[steps[0]].(map[string]any)
	if !ok {
		next = map[string]any{}
		directory[steps[0]] = next
	}
	put(next, steps[1:], value)
}

// identity is the instance identity document.
func (i *Instance) identity() string {
	return marshal(map[string]string{
		"image-id":         i.ImageID,
		"instance-id":      i.ID,
		"instance-type":    i.Type,
		"mac":              i.MAC,
		"owner-account-id": i.OwnerID,
		"private-ipv4":     i.PrivateIPv4,
		"region-id":        i.RegionID,
		"serial-number":    i.SerialNumber,
		"zone-id":          i.ZoneID,
	})
}

func (i *Instance) privateIPv4s() string {
	if i.PrivateIPv4 == "" {
		return addresses(i.SecondaryIPv4)
	}
	return strings.TrimSuffix(i.PrivateIPv4+"\n"+addresses(i.SecondaryIPv4), "\n")
}

func addresses(list []netip.Addr) string {
	texts := make([]string, len(list))
	for n, address := range list {
		texts[n] = address.String()
	}
	return lines(texts)
}

func lines(list []string) string { return strings.Join(list, "\n") }

func marshal(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // maps of strings always marshal
	}
	return string(text)
}
