package authkeys

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
)

// ErrUnsound tells of a key that sshd reads and that must not be bound: somebody without a
// private half could log in with it, or nobody, or the key can be written in two ways.
var ErrUnsound = errors.New("the key's fields are not sound")

// CheckSound tells why a plain key in wire format must not be bound, though sshd may take
// it; the error wraps ErrUnsound. A sound key has the one encoding that sshd writes;
// ed25519 points are not of small order, DSA numbers of the group that they name, of 1024
// and 160 bits, RSA exponents odd and above one, and a security key names its application.
func CheckSound(blob []byte) error {
	name, _, err := cutString(blob)
	plain := keyTypes[string(name)]
	if err != nil || plain == nil || plain.name != string(name) {
		return fmt.Errorf("%w: its type is none that is known", ErrUnsound)
	}
	canonical, err := plain.canonical(blob)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrUnsound, err)
	case !bytes.Equal(canonical, blob):
		return fmt.Errorf("%w: one is not in its shortest form", ErrUnsound)
	case !plain.isSound(stringsIn(blob)[1:]):
		return fmt.Errorf("%w: its numbers are weak, or its application is empty", ErrUnsound)
	}
	return nil
}

// stringsIn returns the strings of a blob that is whole.
func stringsIn(blob []byte) [][]byte {
	var all [][]byte
	for len(blob) > 0 {
		value, rest, err := cutString(blob)
		if err != nil {
			return all
		}
		all, blob = append(all, value), rest
	}
	return all
}

// isSound judges the fields of a key whose structure is right.
func (t *keyType) isSound(fields [][]byte) bool {
	switch t {
	case &typeEd25519:
		return isSoundPoint(fields[0])
	case &typeEd25519SK:
		return isSoundPoint(fields[0]) && len(fields[1]) > 0
	case &typeP256SK:
		return len(fields[2]) > 0
	case &typeRSA:
		e, n := number(fields[0]), number(fields[1])
		return e.Bit(0) == 1 && e.BitLen() > 1 && n.Bit(0) == 1
	case &typeDSA:
		return isSoundDSA(number(fields[0]), number(fields[1]), number(fields[2]), number(fields[3]))
	}
	return true // of the curves that NIST has, every point is
}

func number(mpint []byte) *big.Int { return new(big.Int).SetBytes(mpint) }

// fieldPrime is 2^255-19, the first number that is no y in its one encoding (RFC 8032
// section 5.1.3), as text.
const fieldPrime = "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed"

// smallOrder are the y of the eight points of edwards25519 whose order divides 8, as text.
// With such a key one signature, made of the neutral element and zero, is good for any
// message or for one in a few. ("Taming the many EdDSAs", Chalkias, Garillot and
// Nikolaenko 2020; libsodium refuses the same.)
var smallOrder = []string{
	"0000000000000000000000000000000000000000000000000000000000000000", // order 4
	"0000000000000000000000000000000000000000000000000000000000000001", // the neutral element
	"05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826", // order 8
	"7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7", // order 8, the one before negated
	"7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffec", // order 2
}

// isSoundPoint judges a point of edwards25519: y with the least byte first, and the sign
// of x in the top bit.
func isSoundPoint(point []byte) bool {
	y := slices.Clone(point)
	y[31] &= 0x7f
	slices.Reverse(y)
	text := hex.EncodeToString(y)
	return text < fieldPrime && !slices.Contains(smallOrder, text)
}

// isSoundDSA tells whether g and y generate the group of q elements, a prime, in the
// numbers modulo p (FIPS 186-4, appendix A.2.2). Else their powers may be few enough to
// try them.
func isSoundDSA(p, q, g, y *big.Int) bool {
	one := big.NewInt(1)
	generates := func(n *big.Int) bool {
		return n.Cmp(one) > 0 && n.Cmp(p) < 0 && new(big.Int).Exp(n, q, p).Cmp(one) == 0
	}
	return p.BitLen() == 1024 && q.BitLen() == 160 && q.ProbablyPrime(0) && generates(g) && generates(y)
}
