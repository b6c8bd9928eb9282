package ecsclient

import (
	"context"
	"fmt"
	"iter"
	"net/url"
	"time"
)

// Limits of one request, and of a list.
const (
	MaxDelete   = 100    // names in DeleteKeyPairs
	MaxKeyPairs = 10_000 // that KeyPairs yields; ECS has 500 in a region
	pairPage    = 50     // key pairs on a page
)

// KeyPair is a key pair as DescribeKeyPairs shows it.
type KeyPair struct {
	Name            string
	Fingerprint     string // MD5, pairs of hexadecimal digits joined by colons (RFC 4716 section 4)
	PublicKey       string // one line of authorized_keys, if it was asked for
	ResourceGroupID string
	CreatedAt       time.Time // UTC, to the minute
	Tags            []Tag
}

// Tag is a key with a value on a key pair.
type Tag struct{ Key, Value string }

func (p KeyPair) id() string { return p.Name }

// size counts empty tags too, which a service can send many of.
func (p KeyPair) size() int {
	size := len(p.Name) + len(p.Fingerprint) + len(p.PublicKey) + len(p.ResourceGroupID) + 32*len(p.Tags)
	for _, tag := range p.Tags {
		size += len(tag.Key) + len(tag.Value)
	}
	return size
}

// NewKeyPair is what a key pair begins with.
type NewKeyPair struct {
	Name            string
	ResourceGroupID string
	Tags            []Tag

	// KeyType is ED25519, ECDSA or RSA for keypaird; empty for RSA, and not sent. The cloud's own service does
	// not know this parameter: it may answer with an RSA key all the same.
	KeyType string
}

func (n NewKeyPair) parameters(c *Client) url.Values {
	values := c.parameters("KeyPairName", n.Name, "ResourceGroupId", n.ResourceGroupID, "KeyType", n.KeyType)
	addTags(values, n.Tags)
	return values
}

func addTags(values url.Values, tags []Tag) {
	for i, tag := range tags {
		values.Set(fmt.Sprintf("Tag.%d.Key", i+1), tag.Key)
		if tag.Value != "" {
			values.Set(fmt.Sprintf("Tag.%d.Value", i+1), tag.Value)
		}
	}
}

// Created is a key pair that was made just now.
type Created struct {
	Name        string
	ID          string // "ssh-…"; empty for an imported one
	Fingerprint string // see KeyPair
	PrivateKey  []byte // PEM, unencrypted: it is to be had this once; nil for an imported one
}

type createdAnswer struct {
	KeyPairName, KeyPairId, KeyPairFingerPrint text
	PrivateKeyBody                             string
}

func (a createdAnswer) created() *Created {
	return &Created{
		Name: string(a.KeyPairName), ID: string(a.KeyPairId), Fingerprint: string(a.KeyPairFingerPrint),
		PrivateKey: []byte(a.PrivateKeyBody),
	}
}

// CreateKeyPair has the service make a key pair.
func (c *Client) CreateKeyPair(ctx context.Context, n NewKeyPair) (*Created, error) {
	return c.newKeyPair(ctx, "CreateKeyPair", n.parameters(c))
}

// ImportKeyPair makes a key pair of a public key, one line "type base64 [comment]".
func (c *Client) ImportKeyPair(ctx context.Context, n NewKeyPair, publicKey string) (*Created, error) {
	parameters := n.parameters(c)
	parameters.Set("PublicKeyBody", publicKey)
	return c.newKeyPair(ctx, "ImportKeyPair", parameters)
}

func (c *Client) newKeyPair(ctx context.Context, action string, parameters url.Values) (*Created, error) {
	var answer createdAnswer
	if err := c.call(ctx, action, parameters, &answer); err != nil {
		return nil, err
	}
	if answer.KeyPairName == "" { // any JSON has no name
		return nil, strangeAnswer{action, c.endpoint.Host}
	}
	return answer.created(), nil
}

// KeyPairFilter chooses key pairs. What is empty chooses all.
type KeyPairFilter struct {
	Name            string // "*" at the beginning or the end stands for any characters
	Fingerprint     string // MD5 as in KeyPair
	ResourceGroupID string
	Tags            []Tag // all have to be there
	PublicKeys      bool  // have the public keys in the answer
}

type pairsAnswer struct {
	TotalCount text
	KeyPairs   struct {
		KeyPair []struct {
			KeyPairName, KeyPairFingerPrint, CreationTime, ResourceGroupId, PublicKey text
			Tags                                                                      struct {
				Tag []struct{ TagKey, TagValue text }
			}
		}
	}
}

// KeyPairs yields the key pairs that the filter chooses, page by page; an error comes last. More than MaxKeyPairs are one.
func (c *Client) KeyPairs(ctx context.Context, f KeyPairFilter) iter.Seq2[KeyPair, error] {
	parameters := c.parameters("KeyPairName", f.Name, "KeyPairFingerPrint", f.Fingerprint, "ResourceGroupId", f.ResourceGroupID)
	addTags(parameters, f.Tags)
	if f.PublicKeys {
		parameters.Set("IncludePublicKey", "true")
	}
	l := list[KeyPair]{action: "DescribeKeyPairs", page: pairPage, most: MaxKeyPairs}
	return l.all(parameters, func(page url.Values) ([]KeyPair, int, error) {
		var answer pairsAnswer
		err := c.read(ctx, l.action, page, &answer)
		return answer.pairs(), answer.TotalCount.number(), err
	})
}

func (a pairsAnswer) pairs() []KeyPair {
	var all []KeyPair
	for _, p := range a.KeyPairs.KeyPair {
		pair := KeyPair{
			Name: string(p.KeyPairName), Fingerprint: string(p.KeyPairFingerPrint), PublicKey: string(p.PublicKey),
			ResourceGroupID: string(p.ResourceGroupId), CreatedAt: p.CreationTime.date(),
		}
		for _, tag := range p.Tags.Tag {
			pair.Tags = append(pair.Tags, Tag{string(tag.TagKey), string(tag.TagValue)})
		}
		all = append(all, pair)
	}
	return all
}

// DeleteKeyPairs deletes up to MaxDelete key pairs, in one request.
func (c *Client) DeleteKeyPairs(ctx context.Context, names []string) error {
	return c.call(ctx, "DeleteKeyPairs", c.parameters("KeyPairNames", jsonArray(names)), nil)
}

// TagKeyPair puts tags on a key pair.
func (c *Client) TagKeyPair(ctx context.Context, name string, tags []Tag) error {
	parameters := c.parameters("ResourceType", "keypair", "ResourceId.1", name)
	addTags(parameters, tags)
	return c.call(ctx, "TagResources", parameters, nil)
}

// UntagKeyPair takes tags off a key pair, by their keys.
func (c *Client) UntagKeyPair(ctx context.Context, name string, keys []string) error {
	parameters := c.parameters("ResourceType", "keypair", "ResourceId.1", name)
	for i, key := range keys {
		parameters.Set(fmt.Sprintf("TagKey.%d", i+1), key)
	}
	return c.call(ctx, "UntagResources", parameters, nil)
}
