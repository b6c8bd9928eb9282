package authkeys

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// The reasons for which Permits turns a client away.
var (
	ErrExpired       = errors.New("the key's expiry-time is past")
	ErrFrom          = errors.New("the client's address is not among the line's from patterns")
	ErrBadFrom       = errors.New("the line's from patterns cannot be read")
	ErrCertAuthority = errors.New("the line is a certificate authority's")
	ErrPrincipals    = errors.New("the line has principals but is no certificate authority's")
)

// Permits reports whether the line lets a client that has proved to hold its
// key log in from addr at the time now: nil, or one of the errors above. host
// is the client's name where the server resolves names (UseDNS), else empty.
//
// sshd goes on to the next line when one refuses, so the first line that
// permits decides about the options in force.
func (e *Entry) Permits(addr netip.Addr, host string, now time.Time) error {
	switch o := &e.Options; {
	case o.CertAuthority:
		return ErrCertAuthority
	case !o.ExpiryTime.IsZero() && now.Unix() > o.ExpiryTime.Unix():
		return fmt.Errorf("%w since %s", ErrExpired, o.ExpiryTime.Format(time.RFC3339))
	case o.Principals != nil:
		return ErrPrincipals
	case o.From != nil:
		return PermitsFrom(*o.From, addr.Unmap(), host)
	}
	return nil
}

// PermitsFrom judges a client by a list of patterns as sshd does, in from= and behind the @ of AllowUsers: by its address
// and by its name, host, which is "" where it was not looked up. A match of either is enough, a negated
// match of either refuses. The error is [ErrFrom] for a client that is not in the list, or [ErrBadFrom].
func PermitsFrom(patterns string, addr netip.Addr, host string) error {
	if host == "" {
		host = addr.String()
	}
	byAddress, err := matchAddress(patterns, addr)
	if err != nil {
		return err
	}
	byName := matchList(patterns, asciiLower(host))
	if byAddress == refused || byName == refused || byAddress != accepted && byName != accepted {
		return ErrFrom
	}
	return nil
}
