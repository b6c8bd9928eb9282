package imds_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"pgregory.net/rapid"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
	"github.com/latchkey-ssh/latchkey/keypair"
	"github.com/latchkey-ssh/latchkey/metadata"
)

// TestWhatIsImportedIsTakenByInstances: else a region would show a key as replaced that
// its instances go on letting in.
func TestWhatIsImportedIsTakenByInstances(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"ed25519", "sk-ed25519", "rsa-2048", "ecdsa-256", "sk-ecdsa", "ecdsa-384", "ecdsa-521", "dss"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			base := newDrawnKey(t, kind)
			rapid.Check(t, func(r *rapid.T) {
				key, err := keypair.ParsePublicKey(base.draw(r), time.Unix(1<<30, 0))
				if err == nil {
					wantTaken(r, key)
				}
			})
		})
	}
}

func wantTaken(t rapid.TB, key keypair.PublicKey) {
	t.Helper()
	taken, err := metadata.ParseKey(key.Line())
	switch {
	case err != nil:
		t.Fatalf("%q was imported: %v", key.Line(), err)
	case taken.Fingerprint() != key.SHA256() || taken.Line() != key.Line():
		t.Fatalf("%q was imported as %s and is %q, %s", key.Line(), key.SHA256(), taken.Line(), taken.Fingerprint())
	}
}

func FuzzWhatIsImportedIsTakenByInstances(f *testing.F) {
	for _, line := range testmachine.WeakKeys(f) {
		f.Add(line)
	}
	f.Add("rsa " + strings.Fields(newDrawnKey(f, "rsa-2048").line("ssh-rsa"))[1] + " \u00a0ada\t@desk")
	f.Fuzz(func(t *testing.T, line string) {
		if key, err := keypair.ParsePublicKey(line, time.Unix(1<<30, 0)); err == nil {
			wantTaken(t, key)
		}
	})
}

// drawnKey is a sound key in its fields, of which lines are made that are not quite it.
type drawnKey struct {
	name   string
	fields [][]byte
	signer ssh.Signer // the authority of its certificates
}

func newDrawnKey(t testing.TB, kind string) drawnKey {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	plain := map[string]string{"sk-ed25519": "ed25519", "sk-ecdsa": "ecdsa-256"}[kind]
	if plain == "" {
		plain = kind
	}
	blob := testmachine.NewKey(t, plain).Signer.PublicKey().Marshal()
	var fields [][]byte
	for len(blob) > 0 {
		size := binary.BigEndian.Uint32(blob)
		fields, blob = append(fields, blob[4:4+size]), blob[4+size:]
	}
	key := drawnKey{name: string(fields[0]), fields: fields[1:], signer: signer}
	if plain != kind {
		key.name, key.fields = "sk-"+key.name+"@openssh.com", append(key.fields, []byte("ssh:"))
	}
	return key
}

// draw makes a line, often one that can be imported.
func (k drawnKey) draw(t *rapid.T) string {
	var fields []byte
	spoilt := rapid.IntRange(-len(k.fields), len(k.fields)-1).Draw(t, "spoilt field")
	for i, field := range k.fields {
		if i == spoilt {
			field = spoil(t, field)
		}
		fields = framed(fields, field)
	}
	label, blob := k.name, []byte(nil)
	switch rapid.SampledFrom([]string{"", "v01", "v00"}).Draw(t, "certificate") {
	case "":
		blob = append(framed(nil, []byte(label)), fields...)
		label = rapid.SampledFrom([]string{label, label, label, "rsa", "dsa", "ecdsa"}).Draw(t, "word")
	case "v01":
		label = strings.TrimSuffix(label, "@openssh.com") + "-cert-v01@openssh.com"
		blob = k.sign(t, append(framed(framed(nil, []byte(label)), []byte("nonce")), fields...), false)
	case "v00":
		label += "-cert-v00@openssh.com"
		blob = k.sign(t, append(framed(nil, []byte(label)), fields...), true)
	}
	comment := rapid.StringOfN(rapid.RuneFrom([]rune("ab \t\"#,=\u00a0\u200b\u3000\ufeff\ufffd密\u202e\u0085\x00")), -1, 6, -1).Draw(t, "comment")
	return label + " " + base64.StdEncoding.EncodeToString(blob) + " " + comment
}

// spoil changes a field, perhaps so that it means the same.
func spoil(t *rapid.T, field []byte) []byte {
	return rapid.OneOf(
		rapid.Just(append([]byte{0}, field...)),
		rapid.Just(append(bytes.Clone(field), 0)),
		rapid.Just([]byte{}),
		rapid.Just([]byte{0}),
		rapid.Just(bytes.Repeat([]byte{0xff}, len(field))),
		rapid.SliceOfN(rapid.Byte(), len(field), len(field)),
	).Draw(t, "instead")
}

// sign adds to the key what else is in a certificate.
func (k drawnKey) sign(t *rapid.T, blob []byte, legacy bool) []byte {
	list := func(name string) []byte {
		pty := framed(framed(nil, []byte("permit-pty")), nil)
		command := framed(framed(nil, []byte("force-command")), framed(nil, []byte("id")))
		return rapid.SampledFrom([][]byte{nil, nil, pty, command, []byte("odd")}).Draw(t, name)
	}
	if !legacy {
		blob = binary.BigEndian.AppendUint64(blob, rapid.Uint64().Draw(t, "serial"))
	}
	blob = binary.BigEndian.AppendUint32(blob, ssh.UserCert)
	blob = framed(blob, rapid.SliceOfN(rapid.Byte(), 0, 4).Draw(t, "key id"))
	blob = framed(blob, list("principals"))
	blob = binary.BigEndian.AppendUint64(blob, rapid.Uint64().Draw(t, "valid after"))
	blob = binary.BigEndian.AppendUint64(blob, rapid.SampledFrom([]uint64{ssh.CertTimeInfinity, 1 << 31, 1 << 63, 1}).Draw(t, "valid before"))
	blob = framed(blob, list("options"))
	blob = framed(blob, list("extensions or nonce"))
	blob = framed(blob, nil)
	blob = framed(blob, k.signer.PublicKey().Marshal())
	signature, err := k.signer.Sign(rand.Reader, blob)
	if err != nil {
		t.Fatal(err)
	}
	return framed(blob, ssh.Marshal(signature))
}

// line is the key as it is.
func (k drawnKey) line(word string) string {
	blob := framed(nil, []byte(k.name))
	for _, field := range k.fields {
		blob = framed(blob, field)
	}
	return word + " " + base64.StdEncoding.EncodeToString(blob)
}

func framed(blob, value []byte) []byte {
	return append(binary.BigEndian.AppendUint32(blob, uint32(len(value))), value...)
}
