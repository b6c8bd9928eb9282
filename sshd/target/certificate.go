package target

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/authkeys"
)

// certificate is one that a client offers in the place of a plain key (PROTOCOL.certkeys).
type certificate struct {
	*authkeys.Certificate
	authority     []byte           // the key that signed it, in wire format
	authorityLine string           // the same as a line "type base64"
	bounds        authkeys.Options // what it grants at the most, and to whom
}

var (
	errAuthority     = errors.New("the certificate's authority is not trusted")
	errTouch         = errors.New("the certificate waives that its security key is touched, the line does not")
	errSourceAddress = errors.New("the client's address is not in the certificate's source-address")
	errPrincipal     = errors.New("the certificate has no principal that may log in as this user")
)

// readCertificate checks all that does not depend on who trusts its authority: it is whole, signed, for users, valid now, and without
// critical options that are not known.
func readCertificate(offered *ssh.Certificate, now time.Time) (*certificate, error) {
	read, err := authkeys.ParseCertificate(string(ssh.MarshalAuthorizedKey(offered)))
	if err != nil {
		return nil, err
	}
	anybodys := *read
	anybodys.Principals = nil // whom it names is for those to judge who trust it
	if err := anybodys.Usable("", now); err != nil {
		return nil, err
	}
	anybodys.ValidBefore = time.Time{} // has been judged, and to the second
	line, err := anybodys.AuthorizedKey("", now, time.UTC)
	if err != nil {
		return nil, err
	}
	entry, err := authkeys.ParseManaged(line)
	if err != nil {
		return nil, err
	}
	return &certificate{
		Certificate: read, bounds: entry.Options,
		authority:     offered.SignatureKey.Marshal(),
		authorityLine: string(ssh.MarshalAuthorizedKey(offered.SignatureKey)),
	}, nil
}

// names tells whether one of the names is among the certificate's principals.
func (c *certificate) names(names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return slices.Contains(c.Principals, name) })
}

// namesIn are the names of principals= as sshd reads them: up to the first that is empty.
func namesIn(principals string) []string {
	names := strings.Split(principals, ",")
	if end := slices.Index(names, ""); end >= 0 {
		names = names[:end]
	}
	return names
}

// authorizeCertificate asks first the lines of authorities in the user's own files, then those who are trusted for all.
func (p *policy) authorizeCertificate(offered *ssh.Certificate, now time.Time) (*authkeys.Options, error) {
	if !p.has(authorityList, offered.Signature.Format) {
		return nil, fmt.Errorf("the authority's signature algorithm %s is not in CASignatureAlgorithms", offered.Signature.Format)
	}
	c, err := readCertificate(offered, now)
	if err != nil {
		return nil, err
	}
	listed, err := p.findLine(c.authority, func(entry *authkeys.Entry) (*authkeys.Options, error) {
		return p.certifiedByLine(c, entry, now)
	})
	if err == nil || errors.As(err, new(keysFuncError)) {
		return listed, err
	}
	trusted, trustedErr := p.certifiedForAll(c, now)
	if errors.Is(trustedErr, errAuthority) && !errors.Is(err, errNotListed) {
		return nil, err
	}
	return trusted, trustedErr
}

// certifiedByLine asks a line with cert-authority. A certificate without principals will do for it, unless the line names some.
func (p *policy) certifiedByLine(c *certificate, entry *authkeys.Entry, now time.Time) (*authkeys.Options, error) {
	line := *entry
	if !line.Options.CertAuthority {
		return nil, errAuthority
	}
	named := line.Options.Principals
	line.Options.CertAuthority, line.Options.Principals = false, nil
	granted, err := p.bounded(c, &line, now)
	switch {
	case err != nil:
		return nil, err
	case named != nil && !c.names(namesIn(*named)...):
		return nil, errPrincipal
	case named == nil && len(c.Principals) > 0 && !c.names(p.conn.User):
		return nil, errPrincipal
	}
	return granted, nil
}

// certifiedForAll asks the authorities of [WithUserCA] and of TrustedUserCAKeys, for whom a certificate has to name a principal.
func (p *policy) certifiedForAll(c *certificate, now time.Time) (*authkeys.Options, error) {
	if err := p.trustsAuthority(c); err != nil {
		return nil, err
	}
	line, err := p.principalLine(c)
	if err != nil {
		return nil, err
	}
	return p.bounded(c, line, now)
}

func (p *policy) trustsAuthority(c *certificate) error {
	for _, ca := range p.cas {
		if bytes.Equal(ca.Marshal(), c.authority) {
			return nil
		}
	}
	if !p.sets("trustedusercakeys") {
		return errAuthority
	}
	trusted, err := listsKey(p.path(p.value("trustedusercakeys")), func(ca ssh.PublicKey) bool {
		return bytes.Equal(ca.Marshal(), c.authority)
	})
	if err == nil && !trusted {
		err = errAuthority
	}
	return err
}

// bounded is what both the line and the certificate grant, where both let the client in.
func (p *policy) bounded(c *certificate, line *authkeys.Entry, now time.Time) (*authkeys.Options, error) {
	addr, _ := netip.ParseAddr(p.conn.Addr)
	if err := line.Permits(addr, "", now); err != nil {
		return nil, err
	}
	if err := (&authkeys.Entry{Options: c.bounds}).Permits(addr, "", now); err != nil {
		return nil, errSourceAddress // there is nothing else in them that Permits refuses for
	}
	if c.bounds.NoTouchRequired && !line.Options.NoTouchRequired && strings.HasPrefix(c.Type, "sk-") {
		return nil, errTouch // the library looks at the certificate alone
	}
	granted := line.Options
	if err := confine(&granted, c.bounds); err != nil {
		return nil, err
	}
	return &granted, nil
}

var errCommandsDiffer = errors.New("two commands are forced, and they are not the same")

// confine takes from what a line grants all that the certificate's bounds do not.
func confine(line *authkeys.Options, bounds authkeys.Options) error {
	if line.Command != nil && bounds.Command != nil && *line.Command != *bounds.Command {
		return errCommandsDiffer
	}
	if line.Command == nil {
		line.Command = bounds.Command
	}
	line.PortForwarding = line.PortForwarding && bounds.PortForwarding
	line.AgentForwarding = line.AgentForwarding && bounds.AgentForwarding
	line.X11Forwarding = line.X11Forwarding && bounds.X11Forwarding
	line.PTY = line.PTY && bounds.PTY
	line.UserRC = line.UserRC && bounds.UserRC
	line.NoTouchRequired = line.NoTouchRequired && bounds.NoTouchRequired
	line.VerifyRequired = line.VerifyRequired || bounds.VerifyRequired
	return nil
}
