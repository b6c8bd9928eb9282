package imds

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
	MAC          string
	PrivateIPv4  string
	OwnerID      string // the account's number
	SerialNumber string

	// LoginUser is the initial logon user, told in the leaf login-user, which is an
	// extension: ECS has none.
	LoginUser string

	KeyPairName string // empty when no key is bound
	KeyPairID   string // names the key's directory where the pair has no name
	PublicKey   string // one line of authorized_keys, without its newline

	HTTPTokens   string // TokensOptional (also when empty) or TokensRequired
	HTTPEndpoint string // EndpointEnabled (also when empty) or EndpointDisabled
}

// leaves returns the values below meta-data/ by their path.
func (i Instance) leaves() map[string]string {
	leaves := map[string]string{
		"hostname":                        i.Hostname,
		"image-id":                        i.ImageID,
		"instance-id":                     i.ID,
		"instance/instance-name":          i.Name,
		"instance/instance-type":          i.Type,
		"login-user":                      i.LoginUser,
		"mac":                             i.MAC,
		"network-type":                    "vpc",
		"owner-account-id":                i.OwnerID,
		"private-ipv4":                    i.PrivateIPv4,
		"public-keys/0/openssh-key":       i.PublicKey,
		"public-keys/" + i.keyDirectory(): i.PublicKey,
		"region-id":                       i.RegionID,
		"serial-number":                   i.SerialNumber,
		"zone-id":                         i.ZoneID,
	}
	for path, value := range leaves {
		if value == "" {
			delete(leaves, path)
		}
	}
	return leaves
}

// keyDirectory is the second place of the key: below the pair's own name.
func (i Instance) keyDirectory() string {
	name := i.KeyPairName
	if name == "" {
		name = i.KeyPairID
	}
	if name == "" {
		name = "0"
	}
	return name + "/openssh-key"
}
