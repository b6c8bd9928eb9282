package imds

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Values of Instance.HTTPTokens and Instance.HTTPEndpoint, ECS's MetadataOptions.
const (
	TokensOptional   = "optional"
	TokensRequired   = "required"
	EndpointEnabled  = "enabled"
	EndpointDisabled = "disabled"
)

// Instance is what the endpoint tells about the instance that asks. A field that is empty
// is not there on the wire.
type Instance struct {
	ID           string // "i-…"
	Name         string
	Type         string // such as "ecs.g7.large"
	Hostname     string
	ImageID      string
	RegionID     string
	ZoneID       string
	OwnerID      string // the account's number
	SerialNumber string

	MAC                string // of the primary network interface, "00:16:3e:…"
	NetworkInterfaceID string // its id, "eni-…"
	PrivateIPv4        string
	SecondaryIPv4      []netip.Addr // further private addresses of that interface
	Netmask            string
	Gateway            string
	EIPv4              string // the elastic address in front of PrivateIPv4
	VPCID              string
	VPCCIDRBlock       string
	VSwitchID          string
	VSwitchCIDRBlock   string
	NameServers        []string
	NTPServers         []string
	SourceAddress      string // of the package mirror, a URL

	// Addresses are those that a Service knows the instance by, beside PrivateIPv4 and
	// SecondaryIPv4. They are not told.
	Addresses []netip.Addr

	UserData   string
	VendorData string

	// LoginUser is the initial logon user, told in the leaf login-user, which is an
	// extension: ECS has none.
	LoginUser string

	KeyPairName string // empty when no key is bound
	KeyPairID   string // names the key's directory where the pair has no name
	PublicKey   string // one line of authorized_keys, without its newline

	HTTPTokens   string // TokensOptional (also when empty) or TokensRequired
	HTTPEndpoint string // EndpointEnabled (also when empty) or EndpointDisabled
}

// clone shares nothing with the original that can change.
func (i Instance) clone() Instance {
	i.SecondaryIPv4 = slices.Clone(i.SecondaryIPv4)
	i.NameServers = slices.Clone(i.NameServers)
	i.NTPServers = slices.Clone(i.NTPServers)
	i.Addresses = slices.Clone(i.Addresses)
	return i
}

// etag names what is bound: another key, pair, logon user or instance has another one. It
// is made from these alone, so that it outlives a restart of the service.
func (i *Instance) etag() string {
	bound := []string{i.ID, i.LoginUser, i.KeyPairName, i.KeyPairID, i.PublicKey}
	sum := sha256.Sum256([]byte(strings.Join(bound, "\x00")))
	return hex.EncodeToString(sum[:8])
}

// sources returns the addresses that requests of the instance come from. An IPv4 address
// within IPv6 (RFC 4291 section 2.5.5.2) is that IPv4 address.
func (i *Instance) sources() ([]netip.Addr, error) {
	all := slices.Concat(i.Addresses, i.SecondaryIPv4)
	if i.PrivateIPv4 != "" {
		address, err := netip.ParseAddr(i.PrivateIPv4)
		if err != nil {
			return nil, fmt.Errorf("private address of %s: %w", i.ID, err)
		}
		all = append(all, address)
	}
	for n, address := range all {
		if !address.IsValid() {
			return nil, fmt.Errorf("address of %s: there is an empty one", i.ID)
		}
		all[n] = address.Unmap()
	}
	return all, nil
}
