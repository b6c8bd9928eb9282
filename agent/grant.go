package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-ssh/latchkey/authkeys"
	"github.com/latchkey-ssh/latchkey/internal/tree"
	"github.com/latchkey-ssh/latchkey/metadata"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// grant is a bound key as it is to stand in the keys file: a plain key, or the plain key
// of a certificate within the certificate's bounds.
type grant struct {
	key     metadata.Key
	offered sshd.PublicKey // what a client offers
	line    string         // "" while nothing may be written
	refused *sshd.Cause    // why nothing may be written
	bounds  *authkeys.Entry
	ends    time.Time // when it ceases to be valid; zero: never
	turns   time.Time // when line changes if nothing else does; zero: never
}

// grantsOf are the grants of a binding's keys for the user at a time.
func grantsOf(b metadata.Binding, user string, at time.Time, zone *time.Location) []grant {
	var grants []grant
	for _, key := range b.Keys {
		if key.IsCertificate() {
			grants = append(grants, certificateGrant(key, user, at, zone))
		} else {
			grants = append(grants, grant{key: key, offered: sshd.PublicKey{Type: key.Type, Blob: key.Blob}, line: key.Line()})
		}
	}
	return grants
}

func certificateGrant(key metadata.Key, user string, at time.Time, zone *time.Location) grant {
	g := grant{key: key}
	certificate, err := authkeys.ParseCertificate(key.Line())
	if err != nil {
		g.refused = certificateCause(key, err)
		return g
	}
	g.offered = sshd.PublicKey{Type: certificate.KeyType, Blob: certificate.KeyBlob}
	g.ends = certificate.ValidBefore
	for _, turn := range []time.Time{certificate.ValidAfter, certificate.ValidBefore} {
		if turn.After(at) && g.turns.IsZero() {
			g.turns = turn
		}
	}
	if zone == nil {
		zone = time.UTC
	}
	if g.line, err = certificate.AuthorizedKey(user, at, zone); err == nil {
		g.bounds, err = authkeys.ParseManaged(g.line)
	}
	if err != nil {
		g.line, g.refused = "", certificateCause(key, err)
	}
	return g
}

// certificateFaults are the reasons why a certificate cannot be used, as faults.
var certificateFaults = []struct {
	err        error
	id, remedy string
}{
	{authkeys.ErrCertificateExpired, "certificate-expired", "have its key signed anew, import that certificate and bind it; or bind the plain key"},
	{authkeys.ErrCertificateNotYet, "certificate-not-yet-valid", "wait until then, or bind another certificate; see that the clock is right"},
	{authkeys.ErrCertificatePrincipal, "certificate-principals", "have it signed with the logon user among its principals (ssh-keygen -n), or set login.user to one of them"},
	{authkeys.ErrHostCertificate, "certificate-host", "bind a user's certificate, signed without ssh-keygen -h, or the plain key"},
	{authkeys.ErrCertificateRestriction, "certificate-restriction", "have it signed without that option, or bind the plain key"},
	{authkeys.ErrCertificateSignature, "certificate-signature", "import the certificate again as its authority has signed it"},
	{authkeys.ErrCertificate, "certificate-malformed", "import the certificate again as its authority has signed it"},
}

func certificateCause(key metadata.Key, err error) *sshd.Cause {
	c := &sshd.Cause{
		ID: "certificate-malformed", Detail: fmt.Sprintf("key %s: %v", key.Fingerprint(), err),
		Remedy: "bind the plain key",
	}
	for _, fault := range certificateFaults {
		if errors.Is(err, fault.err) {
			c.ID, c.Remedy = fault.id, fault.remedy
			break
		}
	}
	return c
}

// setGrants takes the binding's keys into the plan.
func (p *Plan) setGrants() {
	w := p.world
	p.grants = grantsOf(p.Binding, w.Account.Name, w.Now, w.Zone)
	for _, g := range p.grants {
		if g.refused != nil {
			p.Refused = append(p.Refused, *g.refused)
		} else {
			p.Final = append(p.Final, g.line)
		}
	}
}

// turns is when the plan's lines change by themselves, because a certificate begins or
// ends to be valid; zero: never.
func (p *Plan) turns() time.Time {
	var first time.Time
	for _, g := range p.grants {
		if !g.turns.IsZero() && (first.IsZero() || g.turns.Before(first)) {
			first = g.turns
		}
	}
	return first
}

// fingerprintOf is that of the key on a line of the managed block, "" for no such line.
func fingerprintOf(line string) string {
	entry, err := authkeys.ParseManaged(line)
	if err != nil {
		return ""
	}
	return entry.Fingerprint()
}

// proofSources are addresses that a proof comes from: that of sshd -i, and one of those
// from which the listener is asked.
var proofSources = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.AddrFrom4([4]byte{127, 1, 2, 3})}

// sourceCause is what a certificate's source-address does to the proof, nil for nothing.
func (g grant) sourceCause(at time.Time) *sshd.Cause {
	if g.bounds == nil || g.bounds.Options.From == nil {
		return nil
	}
	from := *g.bounds.Options.From
	c := &sshd.Cause{
		ID: "certificate-source-address",
		Remedy: "have it signed with 127.0.0.0/8 among its source-address networks, beside those that clients come from; " +
			"or bind the plain key",
	}
	isProof := func(a netip.Addr) bool { return g.bounds.Permits(a, "", at) == nil }
	switch {
	case !isProof(proofSources[0]) || !isProof(proofSources[1]):
		c.Detail = fmt.Sprintf("key %s: its certificate lets it in from %s alone; a proof is made from this instance (127.0.0.0/8), so it cannot be proved to log in",
			g.key.Fingerprint(), from)
	case !slices.ContainsFunc(strings.Split(from, ","), isOutside):
		c.Detail = fmt.Sprintf("key %s: its certificate lets it in from this instance alone (%s)", g.key.Fingerprint(), from)
	default:
		return nil
	}
	return c
}

// isOutside tells whether an element of a from list has addresses of other machines.
func isOutside(element string) bool {
	return !strings.HasPrefix(element, "127.") && element != "::1" && element != "::1/128"
}

// explainBounds adds to a proof what the certificates' own bounds do to it, in the place
// of the bare refusal.
func (p *Plan) explainBounds(proof *sshd.Proof) {
	for _, g := range p.grants {
		if c := g.sourceCause(p.world.Now); c != nil {
			proof.AddCause(*c)
			proof.Causes = slices.DeleteFunc(proof.Causes, func(c sshd.Cause) bool { return c.ID == "key-"+string(sshd.Refused) })
		}
	}
}

// localZone is the zone of the instance's local time (localtime(5)), in which its sshd
// reads times; UTC where it has none.
func localZone(root string) *time.Location {
	name := "/etc/localtime"
	if target, err := os.Readlink(filepath.Join(root, name)); err == nil && filepath.IsAbs(target) {
		name = target // of the instance, not this machine's
	}
	data, err := tree.ReadFile(root, name)
	if err != nil {
		return time.UTC
	}
	zone, err := time.LoadLocationFromTZData("", data)
	if err != nil {
		return time.UTC
	}
	return zone
}
