package ecscli

import (
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/authkeys"
)

// certificate is what a certificate grants, as JSON.
type certificate struct {
	KeyID         string   `json:"key_id"`
	Serial        uint64   `json:"serial"`
	Principals    []string `json:"principals"`             // users it lets in; without any, all
	ValidAfter    string   `json:"valid_after,omitempty"`  // RFC 3339, UTC; from ever when left out
	ValidBefore   string   `json:"valid_before,omitempty"` // likewise; for ever when left out
	ForceCommand  *string  `json:"force_command,omitempty"`
	SourceAddress *string  `json:"source_address,omitempty"`
	Authority     string   `json:"authority"` // fingerprint of the key that signed it

	after, before time.Time
}

// certificateIn is the certificate in a key line, nil where there is none that can be read.
func certificateIn(line string) *certificate {
	c, err := authkeys.ParseCertificate(line)
	if err != nil {
		return nil
	}
	return &certificate{
		KeyID: c.KeyID, Serial: c.Serial, Principals: append([]string{}, c.Principals...), Authority: c.Authority,
		ValidAfter: timestamp(c.ValidAfter), ValidBefore: timestamp(c.ValidBefore), after: c.ValidAfter, before: c.ValidBefore,
		ForceCommand: criticalOption(c, "force-command"), SourceAddress: criticalOption(c, "source-address"),
	}
}

// criticalOption is the text of a critical option, nil if the certificate has none of that name.
func criticalOption(c *authkeys.Certificate, name string) *string {
	var value struct{ Text string }
	if ssh.Unmarshal(c.Critical[name], &value) != nil {
		return nil
	}
	return &value.Text
}

// rows are its sides for a person.
func (c *certificate) rows(now time.Time) [][2]string {
	principals := "any"
	if len(c.Principals) > 0 {
		principals = strings.Join(c.Principals, " ")
	}
	rows := [][2]string{{"key id", c.KeyID}, {"valid", c.validity(now)}, {"principals", principals}}
	if c.ForceCommand != nil {
		rows = append(rows, [2]string{"force-command", orDash(*c.ForceCommand)})
	}
	if c.SourceAddress != nil {
		rows = append(rows, [2]string{"source-address", orDash(*c.SourceAddress)})
	}
	return append(rows, [2]string{"signed by", c.Authority})
}

// validity is when it is valid, and whether that is over.
func (c *certificate) validity(now time.Time) string {
	var words []string
	if !c.after.IsZero() {
		words = append(words, "from "+c.ValidAfter)
	}
	if !c.before.IsZero() {
		words = append(words, "until "+c.ValidBefore)
	}
	switch {
	case len(words) == 0:
		return "for ever"
	case !c.before.IsZero() && !now.Before(c.before):
		words = append(words, "(expired)")
	case now.Before(c.after):
		words = append(words, "(not yet)")
	}
	return strings.Join(words, " ")
}

// spokenType is a key's type, and that it is a certificate's.
func spokenType(keyType string) string {
	if authkeys.IsCertificate(keyType) {
		return keyType + ", a certificate"
	}
	return keyType
}

// shortType is a key's type, of a certificate without the version of its format: "ssh-ed25519-cert".
func shortType(keyType string) string {
	plainType, _, isCertificate := strings.Cut(keyType, "-cert-v")
	if isCertificate {
		return plainType + "-cert"
	}
	return keyType
}
