package rooted

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// packet is one request: its type, an id, and the fields, strings with their length in front.
func packet(kind byte, fields ...any) []byte {
	body := []byte{kind, 0, 0, 0, 1}
	for _, field := range fields {
		switch field := field.(type) {
		case string:
			body = binary.BigEndian.AppendUint32(body, uint32(len(field)))
			body = append(body, field...)
		case uint32:
			body = binary.BigEndian.AppendUint32(body, field)
		case uint64:
			body = binary.BigEndian.AppendUint64(body, field)
		}
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

// FuzzRequests: whatever a client sends, the server neither panics nor hangs, and leaves what is outside alone. Handles
// are numbered from 1, so the requests below do reach what they open.
func FuzzRequests(f *testing.F) {
	version := []byte{0, 0, 0, 5, 1, 0, 0, 0, 3}
	open := packet(3, "/f", uint32(0x1b), uint32(4), uint32(0o644))
	for _, requests := range [][]byte{
		packet(3, "../out", uint32(2), uint32(0)),
		bytes.Join([][]byte{open, packet(6, "1", uint64(1<<63), "data"), packet(5, "1", uint64(1<<63), uint32(1<<31)), packet(4, "1")}, nil),
		bytes.Join([][]byte{open, packet(8, "1"), packet(10, "1", uint32(15), uint64(1)), packet(12, "1"), packet(4, "1"), packet(4, "1")}, nil),
		bytes.Join([][]byte{packet(11, "/"), packet(12, "1"), packet(12, "1"), packet(5, "1", uint64(0), uint32(9))}, nil),
		packet(9, "/f", uint32(0x80000001), uint64(1<<63), uint32(9)),
		bytes.Join([][]byte{packet(20, "../../out", "/l"), packet(19, "/l"), packet(17, "/l"), packet(7, "/l"), packet(16, "/l/..")}, nil),
		bytes.Join([][]byte{packet(14, "/d", uint32(0)), packet(18, "/d", "/d/e"), packet(15, "/d"), packet(13, "/f")}, nil),
		packet(200, "posix-rename@openssh.com", "/f", "../out"),
		packet(200, "statvfs@openssh.com", "/"),
		packet(200, "hardlink@openssh.com", "../out", "/mine"),
		packet(200, "limits@openssh.com"),
		packet(99),
		{0xff, 0xff, 0xff, 0xff, 1},
	} {
		f.Add(append(bytes.Clone(version), requests...))
	}
	f.Fuzz(func(t *testing.T, requests []byte) {
		above := t.TempDir()
		out, in := filepath.Join(above, "out"), filepath.Join(above, "in")
		write(t, out, "secret")
		write(t, filepath.Join(in, "f"), "mine")
		if err := os.Symlink("../out", filepath.Join(in, "link")); err != nil {
			t.Fatal(err)
		}
		var answers bytes.Buffer
		_ = Serve(context.Background(), bytes.NewReader(requests), io.Writer(&answers), Options{Dir: in})
		entries, err := os.ReadDir(above)
		if data, _ := os.ReadFile(out); string(data) != "secret" || err != nil || len(entries) != 2 {
			t.Errorf("outside: %q, %v, %v", data, entries, err)
		}
		if bytes.Contains(answers.Bytes(), []byte("secret")) {
			t.Errorf("the answer tells what is outside:\n%s", hex.Dump(answers.Bytes()))
		}
	})
}
