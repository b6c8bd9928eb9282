package keypair

import (
	"crypto/rand"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Limits of a region, as in ECS ("Limits" of SSH key pairs).
const (
	MaxKeyPairs = 500 // in a region
	MaxTags     = 20  // of one key pair
)

// KeyPair is a named public key. The private half is not kept.
type KeyPair struct {
	ID              string    `json:"id"` // "ssh-" and 20 lower-case letters and digits
	Name            string    `json:"name"`
	PublicKey       string    `json:"public_key"`                  // one line of authorized_keys, without its newline
	MD5             string    `json:"md5"`                         // see PublicKey.MD5
	SHA256          string    `json:"sha256"`                      // see PublicKey.SHA256
	ResourceGroupID string    `json:"resource_group_id,omitempty"` // "rg-…"; empty is the default one
	Tags            []Tag     `json:"tags,omitempty"`              // by their keys
	CreatedAt       time.Time `json:"created_at"`                  // UTC
}

// CheckName holds a key pair's name to ECS's rule: 2 to 128 characters, a letter of any
// script first, then letters, digits and . _ - :, and neither http:// nor https:// before it.
func CheckName(name string) error {
	length := utf8.RuneCountInString(name)
	if !utf8.ValidString(name) || length < 2 || length > 128 || isURL(name) {
		return ErrName
	}
	for i, r := range name {
		if !unicode.IsLetter(r) && (i == 0 || !unicode.IsDigit(r) && !strings.ContainsRune("._-:", r)) {
			return ErrName
		}
	}
	return nil
}

func isURL(text string) bool {
	return strings.HasPrefix(text, "http://") || strings.HasPrefix(text, "https://")
}

// newID is an id nobody has had before.
func newID(prefix string) string {
	return prefix + strings.ToLower(rand.Text())[:20]
}

// PairFilter chooses key pairs. What is empty chooses all.
type PairFilter struct {
	Name            string // "*" stands for any characters, at the beginning or the end
	Fingerprint     string // MD5 as ECS shows it, or SHA256:…
	ResourceGroupID string
	Tags            []Tag // all have to be there; one without a value is there with any
}

func (f PairFilter) match(p KeyPair) bool {
	return matchName(f.Name, p.Name) &&
		(f.Fingerprint == "" || f.Fingerprint == p.MD5 || f.Fingerprint == p.SHA256) &&
		(f.ResourceGroupID == "" || f.ResourceGroupID == p.ResourceGroupID) &&
		hasTags(p.Tags, f.Tags)
}

// matchName takes a * before, behind or on both sides of a part of the name, as
// DescribeKeyPairs does.
func matchName(pattern, name string) bool {
	part, before := strings.CutPrefix(pattern, "*")
	part, behind := strings.CutSuffix(part, "*")
	switch {
	case pattern == "" || part == "" && (before || behind):
		return true
	case before && behind:
		return strings.Contains(name, part)
	case before:
		return strings.HasSuffix(name, part)
	case behind:
		return strings.HasPrefix(name, part)
	}
	return name == pattern
}
