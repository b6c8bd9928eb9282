package bench

import (
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// million is how many lines make the case that must cost no more than one.
const million = 1_000_000

// ed25519Blob is the base64 of the n-th key: a blob as RFC 8709, section 4, has it,
// whose 32 bytes of key are as good as random. Nobody has the private half.
func ed25519Blob(n int) string {
	blob := append(make([]byte, 0, 51), "\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20"...)
	random := rand.NewPCG(uint64(n), 0x6c617463686b6579)
	for range 4 {
		blob = binary.LittleEndian.AppendUint64(blob, random.Uint64())
	}
	return base64.StdEncoding.EncodeToString(blob)
}

func ed25519Line(n int) string {
	return "ssh-ed25519 " + ed25519Blob(n) + " key-" + strconv.Itoa(n)
}

// writeLines writes a keys file with the lines from..to, and then those of last.
func writeLines(tb testing.TB, path string, from, to int, last ...string) {
	tb.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	for n := from; n < to; n++ {
		_, _ = w.WriteString(ed25519Line(n) + "\n")
	}
	for _, line := range last {
		_, _ = w.WriteString(line + "\n")
	}
	if err := w.Flush(); err != nil {
		tb.Fatal(err)
	}
}
