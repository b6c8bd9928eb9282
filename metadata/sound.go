package metadata

import (
	"encoding/hex"
	"errors"
	"math/big"
	"slices"
)

// errWeak is about a key to which no private half belongs, or anybody's.
var errWeak = errors.New("whoever knows how could log in with the key and no private half of it")

// fieldPrime is 2^255-19, above every y of a point in its one encoding (RFC 8032 section
// 5.1.3), as text.
const fieldPrime = "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed"

// smallOrder are the y of the eight points of edwards25519 whose order divides 8, as text.
// One signature, made of the neutral element and zero, is good for any message or for one
// in a few with such a key, in OpenSSH too. ("Taming the many EdDSAs", Chalkias, Garillot
// and Nikolaenko 2020; libsodium refuses the same.)
var smallOrder = []string{
	"0000000000000000000000000000000000000000000000000000000000000000", // order 4
	"0000000000000000000000000000000000000000000000000000000000000001", // the neutral element
	"05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826", // order 8
	"7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7", // order 8, the one before negated
	"7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffec", // order 2
}

// ed25519 reads a point: y with the least byte first, and the sign of x in the top bit.
func (w *wire) ed25519() {
	y := slices.Clone(w.bytes())
	if len(y) != 32 {
		w.fail(errBlob)
		return
	}
	y[31] &= 0x7f
	slices.Reverse(y)
	switch text := hex.EncodeToString(y); {
	case text >= fieldPrime:
		w.fail(errBlob)
	case slices.Contains(smallOrder, text):
		w.fail(errWeak)
	}
}

// dss reads p, q, g and y (RFC 4253 section 6.6), of the sizes that OpenSSH has.
func (w *wire) dss() {
	var numbers [4]*big.Int
	for i := range numbers {
		numbers[i] = new(big.Int).SetBytes(w.positive())
	}
	p, q, g, y := numbers[0], numbers[1], numbers[2], numbers[3]
	switch {
	case w.err != nil:
	case p.BitLen() != 1024 || q.BitLen() != 160:
		w.fail(errors.New("DSA key of other sizes than 1024 and 160 bits"))
	case !q.ProbablyPrime(0) || !hasOrder(q, g, p) || !hasOrder(q, y, p):
		w.fail(errWeak)
	}
}

// hasOrder tells whether n generates the group of q elements, a prime, in the numbers
// modulo p (FIPS 186-4, appendix A.2.2). Else its powers may be few enough to try them.
func hasOrder(q, n, p *big.Int) bool {
	one := big.NewInt(1)
	return n.Cmp(one) > 0 && n.Cmp(p) < 0 && new(big.Int).Exp(n, q, p).Cmp(one) == 0
}
