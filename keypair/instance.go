package keypair

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Status is an instance's, in ECS's words.
type Status string

// The statuses of an instance.
const (
	Pending  Status = "Pending"
	Starting Status = "Starting"
	Running  Status = "Running"
	Stopping Status = "Stopping"
	Stopped  Status = "Stopped"
)

// Operating systems, as in ECS's OSType.
const (
	Linux   = "linux"
	Windows = "windows"
)

// Values of MetadataOptions.
const (
	Enabled  = "enabled"
	Disabled = "disabled"
	Optional = "optional"
	Required = "required"
)

// Instance is one machine of the region.
type Instance struct {
	ID           string          `json:"id"` // "i-…"
	Name         string          `json:"name,omitempty"`
	HostName     string          `json:"host_name,omitempty"`
	Type         string          `json:"type,omitempty"` // such as "ecs.g7.large"
	ImageID      string          `json:"image_id,omitempty"`
	ZoneID       string          `json:"zone_id,omitempty"`
	OSType       string          `json:"os_type,omitempty"` // Linux (also when empty) or Windows
	OSName       string          `json:"os_name,omitempty"`
	Status       Status          `json:"status,omitempty"`     // empty when registered is Running
	LoginUser    string          `json:"login_user,omitempty"` // the initial logon user; empty where the image decides (root mostly)
	Addresses    []netip.Addr    `json:"addresses,omitempty"`  // by which the metadata endpoint knows it; the first of IPv4 is its private one
	MAC          string          `json:"mac,omitempty"`
	SerialNumber string          `json:"serial_number,omitempty"`
	Metadata     MetadataOptions `json:"metadata_options"`
	KeyPairName  string          `json:"key_pair_name,omitempty"` // the binding; set by AttachKeyPair alone
	CreatedAt    time.Time       `json:"created_at"`              // UTC
}

// MetadataOptions say how the instance's metadata endpoint is asked, as ECS's of that name.
type MetadataOptions struct {
	HTTPEndpoint            string `json:"http_endpoint,omitempty"`               // Enabled (also when empty) or Disabled
	HTTPTokens              string `json:"http_tokens,omitempty"`                 // Optional (also when empty) or Required
	HTTPPutResponseHopLimit int    `json:"http_put_response_hop_limit,omitempty"` // 1 to 64; 0 is 1
}

var (
	instanceID = regexp.MustCompile(`^i-[A-Za-z0-9-]{1,62}$`)
	userName   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,31}$`) // what metadata clients believe
	plainText  = regexp.MustCompile(`^[^\pC\x{2028}\x{2029}]{0,256}$`)
)

// normal returns the instance with what is empty filled in, or what is wrong with it.
func (i Instance) normal() (Instance, error) {
	i.OSType = or(i.OSType, Linux)
	i.Status = or(i.Status, Running)
	i.HostName = or(i.HostName, i.ID)
	i.Name = or(i.Name, i.ID)
	i.Metadata.HTTPEndpoint = or(i.Metadata.HTTPEndpoint, Enabled)
	i.Metadata.HTTPTokens = or(i.Metadata.HTTPTokens, Optional)
	i.Metadata.HTTPPutResponseHopLimit = or(i.Metadata.HTTPPutResponseHopLimit, 1)
	return i, i.check()
}

func or[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

func (i Instance) check() error {
	wrong := func(field, want string) error { return fmt.Errorf("%w: %s: want %s", ErrInstanceInvalid, field, want) }
	switch {
	case !instanceID.MatchString(i.ID):
		return wrong("id", "i- and 1 to 62 letters, digits or -")
	case !slices.Contains([]string{Linux, Windows}, i.OSType):
		return wrong("os_type", Linux+" or "+Windows)
	case !slices.Contains([]Status{Pending, Starting, Running, Stopping, Stopped}, i.Status):
		return wrong("status", "Pending, Starting, Running, Stopping or Stopped")
	case i.LoginUser != "" && !userName.MatchString(i.LoginUser):
		return wrong("login_user", "a user name")
	case !slices.Contains([]string{Enabled, Disabled}, i.Metadata.HTTPEndpoint):
		return wrong("metadata_options.http_endpoint", Enabled+" or "+Disabled)
	case !slices.Contains([]string{Optional, Required}, i.Metadata.HTTPTokens):
		return wrong("metadata_options.http_tokens", Optional+" or "+Required)
	case i.Metadata.HTTPPutResponseHopLimit < 1 || i.Metadata.HTTPPutResponseHopLimit > 64:
		return wrong("metadata_options.http_put_response_hop_limit", "1 to 64")
	}
	return i.checkTexts()
}

func (i Instance) checkTexts() error {
	if i.MAC != "" {
		if mac, err := net.ParseMAC(i.MAC); err != nil || len(mac) != 6 || !strings.EqualFold(mac.String(), i.MAC) {
			return fmt.Errorf("%w: mac: want six pairs of hexadecimal digits, joined by colons", ErrInstanceInvalid)
		}
	}
	for field, text := range map[string]string{
		"name": i.Name, "host_name": i.HostName, "type": i.Type, "image_id": i.ImageID, "zone_id": i.ZoneID,
		"os_name": i.OSName, "serial_number": i.SerialNumber,
	} {
		if !plainText.MatchString(text) {
			return fmt.Errorf("%w: %s: want at most 256 characters on one line", ErrInstanceInvalid, field)
		}
	}
	for _, address := range i.Addresses {
		if !address.IsValid() || address.IsUnspecified() || address.Is4In6() || address.Zone() != "" {
			return fmt.Errorf("%w: addresses: want addresses without a zone", ErrInstanceInvalid)
		}
	}
	return nil
}

// InstanceFilter chooses instances. What is empty chooses all.
type InstanceFilter struct {
	IDs         []string
	KeyPairName string
	Status      Status
}

func (f InstanceFilter) match(i Instance) bool {
	return (len(f.IDs) == 0 || slices.Contains(f.IDs, i.ID)) &&
		(f.KeyPairName == "" || f.KeyPairName == i.KeyPairName) &&
		(f.Status == "" || f.Status == i.Status)
}
