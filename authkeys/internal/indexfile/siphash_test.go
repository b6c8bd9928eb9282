package indexfile

import "testing"

// TestHashIsSipHash compares with the vectors of the reference implementation: the key
// is 00 01 … 0f, the data 00 01 … of each length.
func TestHashIsSipHash(t *testing.T) {
	var data [15]byte
	for i := range data {
		data[i] = byte(i)
	}
	for length, want := range map[int]uint64{
		0:  0x726fdb47dd0e0e31,
		1:  0x74f839c593dc67fd,
		8:  0x93f5f5799a932462,
		15: 0xa129ca6149be45e5,
	} {
		if got := siphash(0x0706050403020100, 0x0f0e0d0c0b0a0908, data[:length]); got != want {
			t.Errorf("%d bytes: %x, want %x", length, got, want)
		}
	}
}
