package indexfile

import "math/bits"

// Seeds tell apart what is hashed. Those of pages are their offsets, which are
// never below HeaderSize.
const (
	seedHeader = iota
	seedRecord
	seedUser
	seedKey
	seedAuthority
)

// hashKey is the first half of the key; the seed is the second.
const hashKey = 0x78656469_79656b20 // " keyidex"

// hash is SipHash-2-4 (Aumasson and Bernstein 2012) of the data.
func hash(seed uint64, data []byte) uint64 { return siphash(hashKey, seed, data) }

func siphash(k0, k1 uint64, data []byte) uint64 {
	s := sipState{k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261, k1 ^ 0x7465646279746573}
	last := uint64(len(data)) << 56
	for ; len(data) >= 8; data = data[8:] {
		s = s.absorb(uint64At(data))
	}
	for i, b := range data {
		last |= uint64(b) << (8 * i)
	}
	s = s.absorb(last)
	s.v2 ^= 0xff
	s = s.round().round().round().round()
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3
}

type sipState struct{ v0, v1, v2, v3 uint64 }

func (s sipState) absorb(word uint64) sipState {
	s.v3 ^= word
	s = s.round().round()
	s.v0 ^= word
	return s
}

func (s sipState) round() sipState {
	s.v0 += s.v1
	s.v2 += s.v3
	s.v1 = bits.RotateLeft64(s.v1, 13) ^ s.v0
	s.v3 = bits.RotateLeft64(s.v3, 16) ^ s.v2
	s.v0 = bits.RotateLeft64(s.v0, 32)
	s.v2 += s.v1
	s.v0 += s.v3
	s.v1 = bits.RotateLeft64(s.v1, 17) ^ s.v2
	s.v3 = bits.RotateLeft64(s.v3, 21) ^ s.v0
	s.v2 = bits.RotateLeft64(s.v2, 32)
	return s
}

// Package encoding/binary would do the same, and takes package reflect along.

func uint32At(b []byte) uint32 {
	_ = b[3]
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}

func uint64At(b []byte) uint64 {
	_ = b[7]
	return uint64(uint32At(b)) | uint64(uint32At(b[4:]))<<32
}

func appendUint32(b []byte, v uint32) []byte {
	return append(b, byte(v), byte(v>>8), byte(v>>16), byte(v>>24))
}

func appendUint64(b []byte, v uint64) []byte {
	return appendUint32(appendUint32(b, uint32(v)), uint32(v>>32))
}

// sealSize is the size of the checksum that ends the header, each record and each
// page.
const sealSize = 8

// seal appends the checksum of b[from:].
func seal(b []byte, from int, seed uint64) []byte {
	return appendUint64(b, hash(seed, b[from:]))
}

// unseal returns what is before the checksum, if that is right.
func unseal(b []byte, seed uint64) (content []byte, ok bool) {
	if len(b) < sealSize {
		return nil, false
	}
	content = b[:len(b)-sealSize]
	return content, uint64At(b[len(content):]) == hash(seed, content)
}
