package testmachine

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/big"
	"testing"
)

// WeakPoints are all encodings of the eight points of edwards25519 whose order is 8 or
// less, as sshd decodes them: the ones of RFC 8032 section 5.1.2, and those that set the
// sign of a zero or add 2^255-19 to y. The list is that of "Taming the many EdDSAs"
// (Chalkias, Garillot, Nikolaenko 2020); a test forges a signature for each.
func WeakPoints(t testing.TB) [][]byte {
	t.Helper()
	var points [][]byte
	for _, text := range []string{
		"0000000000000000000000000000000000000000000000000000000000000000", // y = 0, order 4
		"0100000000000000000000000000000000000000000000000000000000000000", // y = 1, order 1
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", // order 8
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a", // order 8
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // y = -1, order 2
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // y = 0 + 2^255-19
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // y = 1 + 2^255-19
	} {
		for _, sign := range []byte{0, 0x80} {
			point, err := hex.DecodeString(text)
			if err != nil {
				t.Fatal(err)
			}
			point[31] |= sign
			points = append(points, point)
		}
	}
	return points
}

// WeakKeys are lines "type base64" of public keys that let in whoever knows how, without a
// private half, by a name that says why.
func WeakKeys(t testing.TB) map[string]string {
	t.Helper()
	lines := map[string]string{}
	for _, point := range WeakPoints(t) {
		lines[fmt.Sprintf("ed25519 %x", point)] = wireLine("ssh-ed25519", point)
		lines[fmt.Sprintf("sk-ed25519 %x", point)] = wireLine("sk-ssh-ed25519@openssh.com", point, []byte("ssh:"))
	}
	odd := make([]byte, 256)
	odd[0], odd[255] = 0x40, 1
	for _, exponent := range []byte{0, 1, 2, 4} {
		lines[fmt.Sprint("rsa e=", exponent)] = wireLine("ssh-rsa", mpint(big.NewInt(int64(exponent))), odd)
	}
	addWeakDSS(t, lines)
	return lines
}

func addWeakDSS(t testing.TB, lines map[string]string) {
	t.Helper()
	private, err := generateDSS()
	if err != nil {
		t.Fatal(err)
	}
	p, q, g, y := private.P, private.Q, private.G, private.Y
	add := func(name string, numbers ...*big.Int) {
		var fields [][]byte
		for _, n := range numbers {
			fields = append(fields, mpint(n))
		}
		lines["dss "+name] = wireLine("ssh-dss", fields...)
	}
	one := big.NewInt(1)
	last := new(big.Int).Sub(p, one)
	for name, n := range map[string]*big.Int{"0": {}, "1": one, "p-1": last, "p": p, "p+1": new(big.Int).Add(p, one)} {
		add("g="+name, p, q, n, y)
		add("y="+name, p, q, g, n)
	}
	add("g and y of no group", p, q, big.NewInt(2), big.NewInt(4))
	add("q of 159 bits", p, new(big.Int).Rsh(q, 1), g, y)
	add("q no prime", p, new(big.Int).Sub(q, one), last, last)
	add("p of 512 bits", new(big.Int).Rsh(p, 512), q, g, y)
	add("p of 1025 bits", new(big.Int).Lsh(p, 1), q, g, y)
}

// mpint is n, not negative, as RFC 4251 section 5 has it.
func mpint(n *big.Int) []byte {
	magnitude := n.Bytes()
	if n.BitLen()%8 == 0 && len(magnitude) > 0 {
		return append([]byte{0}, magnitude...)
	}
	return magnitude
}

func wireLine(keyType string, fields ...[]byte) string {
	blob := framed([]byte(keyType))
	for _, field := range fields {
		blob = append(blob, framed(field)...)
	}
	return keyType + " " + base64.StdEncoding.EncodeToString(blob)
}

func framed(value []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(value))), value...)
}
