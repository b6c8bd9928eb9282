package agent

import (
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/metadata"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// plan is what the binding asks for, without any steps.
func (d *doctor) plan() *Plan {
	p := &Plan{Binding: d.binding(), world: d.world}
	if p.Binding.State == metadata.Bound {
		p.setGrants()
	}
	return p
}

// held names the keys that stand in the block.
func (p *Plan) held() string {
	var names []string
	for _, line := range p.Final {
		names = append(names, fingerprintOf(line))
	}
	return strings.Join(names, " ")
}

const (
	keyTypeCheck      = "key-type"
	newKeyRemedy      = "import an ed25519 key and bind that one"
	rsaSizeCause      = "required-rsa-size"
	typeCause         = "key-type-not-accepted"
	soundRSABits      = 2048 // NIST SP 800-131A: less is not to be used
	sizeKeyword       = "requiredrsasize"
	typesKeyword      = "pubkeyacceptedalgorithms"
	olderTypesKeyword = "pubkeyacceptedkeytypes" // its name before OpenSSH 8.5
)

// keyTypes tells of each bound key whether the sshd of this instance lets keys of its
// type in, by sshd's effective configuration.
func (d *doctor) keyTypes(p *Plan) {
	for _, g := range p.grants {
		if g.offered.Blob != nil {
			d.keyType(g)
		}
	}
}

func (d *doctor) keyType(g grant) {
	config, name := d.world.Effective, g.describe()
	algorithm, bits := algorithmOf(g.offered.Type), rsaBits(g.offered)
	accepted := config.Get(typesKeyword) + config.Get(olderTypesKeyword)
	least, _ := strconv.Atoi(config.Get(sizeKeyword)) // none before OpenSSH 9.1
	switch {
	case accepted != "" && !slices.Contains(strings.Split(accepted, ","), algorithm):
		d.keyTypeFails(typeCause, typesKeyword, "%s: PubkeyAcceptedAlgorithms does not list %s", name, algorithm)
	case bits > 0 && bits < least:
		d.keyTypeFails(rsaSizeCause, sizeKeyword, "%s: RequiredRSASize is %d, it has %d bits", name, least, bits)
	case bits > 0 && bits < soundRSABits:
		d.pass(keyTypeCheck, "%s: sshd takes it as %s, though %d bits are too few by now: better %s", name, algorithm, bits, newKeyRemedy)
	default:
		d.pass(keyTypeCheck, "%s: sshd takes it as %s", name, algorithm)
	}
}

// keyTypeFails adds a finding about one of maybe several keys.
func (d *doctor) keyTypeFails(id, keyword, format string, args ...any) {
	d.causes = append(d.causes, id)
	d.add(id, Fail, newKeyRemedy, "%s%s", fmt.Sprintf(format, args...), d.position(keyword))
}

// position is where the configuration sets the keyword for everybody, in brackets; ""
// where it does not.
func (d *doctor) position(keyword string) string {
	for _, line := range d.world.Files.Text().Directives {
		if line.Name() == keyword && line.Match == nil {
			return " (" + line.Position() + ")"
		}
	}
	return ""
}

// describe names a bound key, and what it is to sshd.
func (g grant) describe() string {
	if g.key.Type == g.offered.Type {
		return g.key.Type + " key " + g.key.Fingerprint()
	}
	return fmt.Sprintf("%s, a certificate, written as its %s key %s", g.key.Type, g.offered.Type, g.key.Fingerprint())
}

// algorithmOf is the algorithm that clients of today sign with: RSA keys are judged by
// SHA-2, since no sshd since 8.8 takes SHA-1.
func algorithmOf(keyType string) string {
	if keyType == ssh.KeyAlgoRSA {
		return ssh.KeyAlgoRSASHA512
	}
	return keyType
}

// rsaBits is the size of an RSA key, 0 for any other.
func rsaBits(key sshd.PublicKey) int {
	var rsa struct {
		Name string
		E, N *big.Int
	}
	if key.Type != ssh.KeyAlgoRSA || ssh.Unmarshal(key.Blob, &rsa) != nil {
		return 0
	}
	return rsa.N.BitLen()
}

// configuredPassword is password logon where no key could be asked about.
func (d *doctor) configuredPassword() sshd.Verdict {
	if d.world.Effective.AllowsPassword() {
		return sshd.Accepted
	}
	return sshd.Refused
}
