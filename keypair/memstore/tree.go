package memstore

import (
	"hash/maphash"
	"strings"
)

// node is the root of a treap: a search tree by key, and a heap by rank, which a hash of the key
// gives. So the tree is balanced as one of random keys is, and its shape depends on what is in
// it alone. A node never changes once made; nil is the empty tree.
type node struct {
	key        string
	value      []byte // never nil
	rank       uint64
	less, more *node
}

var seed = maphash.MakeSeed()

// get returns nil where the key is not there.
func (n *node) get(key string) []byte {
	for n != nil {
		switch c := strings.Compare(key, n.key); {
		case c == 0:
			return n.value
		case c < 0:
			n = n.less
		default:
			n = n.more
		}
	}
	return nil
}

// with returns the tree with that value under the key.
func (n *node) with(key string, value []byte) *node {
	less, more := n.split(key)
	one := &node{key: key, value: value, rank: maphash.String(seed, key)}
	return join(join(less, one), more.withoutFirst(key))
}

// without returns the tree without the key.
func (n *node) without(key string) *node {
	less, more := n.split(key)
	return join(less, more.withoutFirst(key))
}

// split returns the keys below key, and the others.
func (n *node) split(key string) (below, others *node) {
	switch {
	case n == nil:
		return nil, nil
	case n.key < key:
		inner, others := n.more.split(key)
		return n.over(n.less, inner), others
	default:
		below, inner := n.less.split(key)
		return below, n.over(inner, n.more)
	}
}

// withoutFirst returns the tree without its lowest key, if that is this one.
func (n *node) withoutFirst(key string) *node {
	switch {
	case n == nil:
		return nil
	case n.less != nil:
		return n.over(n.less.withoutFirst(key), n.more)
	case n.key == key:
		return n.more
	}
	return n
}

// join returns the keys of both, those of less being below those of more.
func join(less, more *node) *node {
	switch {
	case less == nil:
		return more
	case more == nil:
		return less
	case less.rank > more.rank:
		return less.over(less.less, join(less.more, more))
	}
	return more.over(join(less, more.less), more.more)
}

// over returns a node like n over other subtrees.
func (n *node) over(less, more *node) *node {
	return &node{key: n.key, value: n.value, rank: n.rank, less: less, more: more}
}

// scan visits the keys that begin with prefix, in order, until visit returns an error.
func (n *node) scan(prefix string, visit func(key string, value []byte) error) error {
	if n == nil {
		return nil
	}
	begins := strings.HasPrefix(n.key, prefix)
	if n.key >= prefix {
		if err := n.less.scan(prefix, visit); err != nil {
			return err
		}
	}
	if begins {
		if err := visit(n.key, n.value); err != nil {
			return err
		}
	}
	if begins || n.key < prefix {
		return n.more.scan(prefix, visit)
	}
	return nil
}
