package ecsapi

import (
	"context"

	"github.com/latchkey-ssh/latchkey/keypair"
)

const (
	maxPairsInPage   = 50
	maxPairsToDelete = 100
)

func newKeyPair(a *arguments) keypair.NewKeyPair {
	return keypair.NewKeyPair{
		Name: a.required("KeyPairName"), ResourceGroupID: a.text("ResourceGroupId"), Tags: a.tags(),
	}
}

// createKeyPair has one argument that ECS's has not: KeyType.
func createKeyPair(a *arguments) operation {
	pair, kind := newKeyPair(a), a.text("KeyType")
	return func(ctx context.Context, region *keypair.Region) (answer, error) {
		created, private, err := region.CreateKeyPair(ctx, pair, kind)
		if err != nil {
			return nil, err
		}
		return &createdKeyPair{private: private, CreateKeyPairResponse: CreateKeyPairResponse{
			KeyPairID: created.ID, KeyPairName: created.Name, KeyPairFingerPrint: created.MD5,
		}}, nil
	}
}

func importKeyPair(a *arguments) operation {
	pair, publicKey := newKeyPair(a), a.required("PublicKeyBody")
	return func(ctx context.Context, region *keypair.Region) (answer, error) {
		imported, err := region.ImportKeyPair(ctx, pair, publicKey)
		if err != nil {
			return nil, err
		}
		return &ImportKeyPairResponse{KeyPairName: imported.Name, KeyPairFingerPrint: imported.MD5}, nil
	}
}

func describeKeyPairs(a *arguments) operation {
	filter := keypair.PairFilter{
		Name: a.text("KeyPairName"), Fingerprint: a.text("KeyPairFingerPrint"),
		ResourceGroupID: a.text("ResourceGroupId"), Tags: a.tags(),
	}
	page, withKey := a.page(maxPairsInPage), a.flag("IncludePublicKey")
	return func(ctx context.Context, region *keypair.Region) (answer, error) {
		found, err := region.KeyPairs(ctx, filter)
		if err != nil {
			return nil, err
		}
		r := DescribeKeyPairsResponse{Page: page}
		r.KeyPairs.KeyPair = []KeyPair{}
		for _, pair := range pageOf(&r.Page, found) {
			r.KeyPairs.KeyPair = append(r.KeyPairs.KeyPair, described(pair, withKey))
		}
		return &r, nil
	}
}

func described(pair keypair.KeyPair, withKey bool) KeyPair {
	d := KeyPair{
		KeyPairName: pair.Name, KeyPairFingerPrint: pair.MD5,
		CreationTime: minutes(pair.CreatedAt), ResourceGroupID: pair.ResourceGroupID,
	}
	if withKey {
		d.PublicKey = pair.PublicKey
	}
	d.Tags.Tag = []Tag{}
	for _, tag := range pair.Tags {
		d.Tags.Tag = append(d.Tags.Tag, Tag{TagKey: tag.Key, TagValue: tag.Value})
	}
	return d
}

func deleteKeyPairs(a *arguments) operation {
	names := a.array("KeyPairNames", maxPairsToDelete, pairNamesNotSupported, tooManyPairNames)
	return func(ctx context.Context, region *keypair.Region) (answer, error) {
		return done(region.DeleteKeyPairs(ctx, names))
	}
}
