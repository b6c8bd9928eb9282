package keypair

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
)

// NewKeyPair is what a key pair begins with.
type NewKeyPair struct {
	Name            string
	ResourceGroupID string
	Tags            []Tag
}

// CreateKeyPair makes a key pair of a type that Generate knows. The private key, PEM, is the
// caller's alone: it is nowhere else, and the caller wipes it once it is handed out.
func (r *Region) CreateKeyPair(ctx context.Context, n NewKeyPair, keyType string) (pair KeyPair, private []byte, err error) {
	// The rules come first: a name that is refused should not cost a key.
	if err := r.store.View(ctx, n.allowed); err != nil {
		return KeyPair{}, nil, err
	}
	public, private, err := Generate(keyType)
	if err != nil {
		return KeyPair{}, nil, err
	}
	if pair, err = r.add(ctx, n, public); err != nil {
		clear(private)
		return KeyPair{}, nil, err
	}
	return pair, private, nil
}

// ImportKeyPair makes a key pair of a public key, one line as ParsePublicKey reads it.
func (r *Region) ImportKeyPair(ctx context.Context, n NewKeyPair, publicKey string) (KeyPair, error) {
	if err := CheckName(n.Name); err != nil {
		return KeyPair{}, err
	}
	public, err := ParsePublicKey(publicKey, now())
	if err != nil {
		return KeyPair{}, err
	}
	return r.add(ctx, n, public)
}

func (r *Region) add(ctx context.Context, n NewKeyPair, public PublicKey) (KeyPair, error) {
	pair := KeyPair{
		ID: newID("ssh-"), Name: n.Name, PublicKey: public.Line(), MD5: public.MD5(), SHA256: public.SHA256(),
		ResourceGroupID: n.ResourceGroupID, CreatedAt: now(),
	}
	err := r.store.Update(ctx, func(tx Tx) error {
		if err := n.allowed(tx); err != nil {
			return err
		}
		pair.Tags, _ = checkTags(n.Tags) // allowed has checked them
		return put(tx, pairPrefix+pair.Name, pair)
	})
	return pair, err
}

// allowed tells why there cannot be such a key pair.
func (n NewKeyPair) allowed(tx Tx) error {
	if err := CheckName(n.Name); err != nil {
		return err
	}
	if _, err := checkTags(n.Tags); err != nil {
		return err
	}
	if err := checkGroup(tx, n.ResourceGroupID); err != nil {
		return err
	}
	taken, err := exists(tx, pairPrefix+n.Name)
	if err == nil && taken {
		err = ErrPairExists
	}
	if err != nil {
		return err
	}
	return checkQuota(tx)
}

func checkQuota(tx Tx) error {
	count := 0
	err := tx.Scan(pairPrefix, func(string, []byte) error { count++; return nil })
	if err == nil && count >= MaxKeyPairs {
		err = ErrPairQuota
	}
	return err
}

// KeyPair returns the key pair of that name.
func (r *Region) KeyPair(ctx context.Context, name string) (KeyPair, error) {
	return view(ctx, r.store, func(tx Tx) (KeyPair, error) { return pairNamed(tx, name) })
}

func pairNamed(tx Tx, name string) (KeyPair, error) {
	if CheckName(name) != nil {
		return KeyPair{}, ErrPairNotFound
	}
	return get[KeyPair](tx, pairPrefix+name, ErrPairNotFound)
}

// KeyPairs returns the key pairs that the filter chooses, the oldest first.
func (r *Region) KeyPairs(ctx context.Context, f PairFilter) ([]KeyPair, error) {
	pairs, err := view(ctx, r.store, func(tx Tx) ([]KeyPair, error) { return list(tx, pairPrefix, f.match) })
	slices.SortStableFunc(pairs, func(a, b KeyPair) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.Name, b.Name))
	})
	return pairs, err
}

// DeleteKeyPairs deletes all of them, or none: where one is not there or is bound.
func (r *Region) DeleteKeyPairs(ctx context.Context, names []string) error {
	return r.store.Update(ctx, func(tx Tx) error {
		for _, name := range distinct(names) {
			if err := deletePair(tx, name); err != nil {
				return err
			}
		}
		return nil
	})
}

func deletePair(tx Tx, name string) error {
	if _, err := pairNamed(tx, name); err != nil {
		return err
	}
	err := tx.Scan(boundPrefix+name+"/", func(string, []byte) error { return ErrPairBound })
	if err != nil {
		return err
	}
	return tx.Delete(pairPrefix + name)
}

// distinct returns names without those that were there before.
func distinct(names []string) []string {
	var once []string
	for _, name := range names {
		if !slices.Contains(once, name) {
			once = append(once, name)
		}
	}
	return once
}

// TagKeyPairs puts tags on key pairs, each given by its name or its id: on all of them, or
// on none.
func (r *Region) TagKeyPairs(ctx context.Context, pairs []string, tags []Tag) error {
	return r.changeTags(ctx, pairs, func(before []Tag) ([]Tag, error) { return withTags(before, tags) })
}

// UntagKeyPairs takes tags away by their keys; no keys stand for all.
func (r *Region) UntagKeyPairs(ctx context.Context, pairs, keys []string) error {
	return r.changeTags(ctx, pairs, func(before []Tag) ([]Tag, error) { return withoutTags(before, keys), nil })
}

func (r *Region) changeTags(ctx context.Context, pairs []string, change func([]Tag) ([]Tag, error)) error {
	return r.store.Update(ctx, func(tx Tx) error {
		for _, one := range distinct(pairs) {
			pair, err := pairCalled(tx, one)
			if err != nil {
				return err
			}
			if pair.Tags, err = change(pair.Tags); err != nil {
				return err
			}
			if err := put(tx, pairPrefix+pair.Name, pair); err != nil {
				return err
			}
		}
		return nil
	})
}

// pairCalled finds a key pair by its name, or else by its id.
func pairCalled(tx Tx, nameOrID string) (KeyPair, error) {
	pair, err := pairNamed(tx, nameOrID)
	if !errors.Is(err, ErrPairNotFound) {
		return pair, err
	}
	found, err := list(tx, pairPrefix, func(p KeyPair) bool { return p.ID == nameOrID })
	if err != nil || len(found) == 0 {
		return KeyPair{}, cmp.Or(err, ErrPairNotFound)
	}
	return found[0], nil
}
