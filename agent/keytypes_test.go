package agent

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
	"github.com/latchkey-ssh/latchkey/keypair"
	"github.com/latchkey-ssh/latchkey/metadata"
)

// keyTypesDoc is the page whose table says what becomes of each type.
const keyTypesDoc = "../docs/KEYTYPES.md"

// typeKey is a key of a type that is imported. Its signer is nil for a security key,
// which nobody has here.
type typeKey struct {
	name, line string
	signer     ssh.Signer
}

// typeKeys are keys of every type.
func typeKeys(t *testing.T) []typeKey {
	t.Helper()
	var keys []typeKey
	for _, kind := range []struct{ name, kind string }{
		{"ssh-ed25519", "ed25519"},
		{"ecdsa-sha2-nistp256", "ecdsa-256"},
		{"ecdsa-sha2-nistp384", "ecdsa-384"},
		{"ecdsa-sha2-nistp521", "ecdsa-521"},
		{"ssh-rsa", "rsa-2048"},
		{"ssh-rsa, 1024 bits", "rsa-1024"},
		{"ssh-dss", "dss"},
	} {
		signer := testmachine.NewKey(t, kind.kind).Signer
		keys = append(keys, typeKey{kind.name, lineOf(signer.PublicKey()), signer})
	}
	for _, public := range securityKeys(t) {
		keys = append(keys, typeKey{public.Type(), lineOf(public), nil})
	}
	return append(keys, certificatesOver(t, keys)...)
}

// securityKeys are the public halves of security keys.
func securityKeys(t *testing.T) []ssh.PublicKey {
	t.Helper()
	edwards := testmachine.NewKey(t, "ed25519").Signer.PublicKey().Marshal()
	nist := testmachine.NewKey(t, "ecdsa-256").Signer.PublicKey().Marshal()
	var keys []ssh.PublicKey
	for _, blob := range [][]byte{
		framed(ssh.KeyAlgoSKED25519, string(edwards[len(edwards)-32:]), "ssh:"),
		framed(ssh.KeyAlgoSKECDSA256, "nistp256", string(nist[len(nist)-65:]), "ssh:"),
	} {
		key, err := ssh.ParsePublicKey(blob)
		noError(t, err)
		keys = append(keys, key)
	}
	return keys
}

// certificatesOver are certificates over the keys, in each format there is for them.
func certificatesOver(t *testing.T, keys []typeKey) []typeKey {
	t.Helper()
	var out []typeKey
	for _, key := range keys {
		if strings.Contains(key.name, ",") {
			continue // what is said of the key's size holds of the certificate
		}
		public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(key.line))
		noError(t, err)
		name, _ := strings.CutSuffix(key.name, "@openssh.com")
		line := certificateOver(t, public, func(*ssh.Certificate) {})
		out = append(out, typeKey{name + "-cert-v01@openssh.com", line, key.signer})
		if name == "ssh-rsa" || name == "ssh-dss" {
			out = append(out, typeKey{name + "-cert-v00@openssh.com", legacyCertificate(t, key.signer), key.signer})
		}
	}
	return out
}

// legacyCertificate is a certificate as OpenSSH 5.4 to 6.9 made them, signed by its own
// key, without any bounds.
func legacyCertificate(t *testing.T, signer ssh.Signer) string {
	t.Helper()
	plain, keyType := signer.PublicKey().Marshal(), signer.PublicKey().Type()
	blob := append(framed(keyType+"-cert-v00@openssh.com"), plain[4+len(keyType):]...)
	blob = binary.BigEndian.AppendUint32(blob, ssh.UserCert)
	blob = append(blob, framed("id", "")...)
	blob = binary.BigEndian.AppendUint64(blob, 0)
	blob = binary.BigEndian.AppendUint64(blob, ssh.CertTimeInfinity)
	blob = append(blob, framed("", "nonce", "", string(plain))...)
	signature, err := signer.(ssh.AlgorithmSigner).SignWithAlgorithm(rand.Reader, blob, keyType)
	noError(t, err)
	blob = append(blob, framed(string(ssh.Marshal(signature)))...)
	return keyType + "-cert-v00@openssh.com " + base64.StdEncoding.EncodeToString(blob)
}

// framed are strings as SSH frames them (RFC 4251 section 5).
func framed(values ...string) []byte {
	var blob []byte
	for _, value := range values {
		blob = append(binary.BigEndian.AppendUint32(blob, uint32(len(value))), value...)
	}
	return blob
}

// Each cell of the table is what the import and a real sshd of that release do.
func TestTheTableOfKeyTypesIsWhatHappens(t *testing.T) {
	t.Parallel()
	releases := []string{older, "bookworm", newer}
	keys := typeKeys(t)
	rows := make([][]string, len(keys))
	for i, key := range keys {
		rows[i] = []string{key.name, imported(key.line), "", "", "", ""}
	}
	t.Run("releases", func(t *testing.T) {
		for column, release := range releases {
			t.Run(release, func(t *testing.T) {
				t.Parallel()
				r := newRigOf(t, release)
				r.StartSSHD()
				for i, key := range keys {
					written, in := r.letsIn(key)
					rows[i][3+column] = in
					if column == 0 {
						rows[i][2] = written
					}
				}
			})
		}
	})
	var want strings.Builder
	for _, row := range rows {
		want.WriteString("| " + strings.Join(row, " | ") + " |\n")
	}
	text, err := os.ReadFile(keyTypesDoc)
	noError(t, err)
	if !strings.Contains(string(text), want.String()) {
		t.Errorf("%s is not as it happens (-is +happens)\n%s", keyTypesDoc, cmp.Diff(tableOf(string(text)), want.String()))
	}
}

// imported tells whether a region takes the key.
func imported(line string) string {
	if _, err := keypair.ParsePublicKey(line, time.Now()); err != nil {
		return "no"
	}
	return "yes"
}

// tableOf are the rows of the page's table, without its head.
func tableOf(text string) string {
	var rows []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "|") {
			rows = append(rows, line)
		}
	}
	return strings.Join(rows[min(2, len(rows)):], "")
}

// letsIn binds the key, and tells what was written before its body and whether the
// machine's sshd lets it in, as the agent has proved and, where there is a private half, a
// logon shows. Where it does not, the doctor says so.
func (r *rig) letsIn(key typeKey) (written, in string) {
	r.t.Helper()
	parsed, err := metadata.ParseKey(key.line)
	noError(r.t, err)
	seen := metadata.Binding{State: metadata.Bound, InstanceID: testInstance, Keys: []metadata.Key{parsed}, At: time.Now()}
	outcome := r.pass(seen, How{Now: true})
	written, _, _ = strings.Cut(r.line(), " AAAA")
	in = "no"
	if outcome.Applied.Proof.Key == "accepted" && outcome.Applied.PasswordClosed {
		in = "yes"
	}
	if key.signer != nil {
		if err := r.Login(r.t, testUser, key.signer); (err == nil) != (in == "yes") {
			r.t.Errorf("%s: proved: %s, logon: %v", key.name, in, err)
		}
	}
	r.wantTypeDiagnosed(seen, key.name, in)
	return written, in
}

// wantTypeDiagnosed: the doctor agrees, and says what to do.
func (r *rig) wantTypeDiagnosed(seen metadata.Binding, name, in string) {
	r.t.Helper()
	d := r.observed(seen)
	d.keyTypes(d.plan()) // the proof is that of the pass
	for _, check := range d.checks {
		switch {
		case check.Name == keyTypeCheck && in == "yes" && check.Result == Pass:
			return
		case check.Name == typeCause && in == "no" && check.Remedy == newKeyRemedy:
			return
		}
	}
	r.t.Errorf("%s is let in: %s; doctor says %+v", name, in, d.checks)
}
