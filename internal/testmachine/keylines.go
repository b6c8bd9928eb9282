package testmachine

import (
	"bufio"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
)

// WriteKeyLines writes count authorized_keys lines with one ed25519 key each, all
// different and the same in each run. Their blobs are as clients offer them, though
// nobody has the private keys. A million take half a second.
func WriteKeyLines(w io.Writer, count int) error {
	buffered := bufio.NewWriter(w)
	for i := range count {
		fmt.Fprintf(buffered, "ssh-ed25519 %s key-%d\n", KeyBase64(i), i)
	}
	return buffered.Flush()
}

// KeyBase64 is the key on line i, from 0, of what WriteKeyLines writes, as sshd prints
// it for %k.
func KeyBase64(i int) string {
	point := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
	blob := append([]byte("\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20"), point[:]...)
	return base64.StdEncoding.EncodeToString(blob)
}
