package metadata

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"time"
)

// DefaultEndpoint is where every ECS instance finds its metadata.
const DefaultEndpoint = "http://100.100.100.200"

// TokenMode says whether the endpoint's hardened mode is used: a token taken by PUT that
// goes with every read.
type TokenMode string

// The token modes.
const (
	TokenAuto     TokenMode = "auto"     // take a token; without one only if the endpoint says it hands out none
	TokenRequired TokenMode = "required" // never read without a token
	TokenOff      TokenMode = "off"      // never ask for a token
)

// versions are the trees an endpoint may serve, in the order they are tried.
var versions = []string{"latest", "2016-01-01"}

// Options say where the endpoint is and how patient to be. The zero value of every field
// is a sane default.
type Options struct {
	// Endpoint is "http://ADDRESS[:PORT]" with an IP address or localhost, or
	// "https://HOST[:PORT]"; default DefaultEndpoint. Plain http takes no host name, since
	// whoever answers DNS at boot would then hand out the keys.
	Endpoint string

	// Token is the token mode; default TokenAuto.
	Token TokenMode

	// Version is "latest" or "2016-01-01"; by default the first of them that is there.
	Version string

	// InstanceID is the id known from before. An answer that comes from another instance is
	// unknown. When empty, the id of the client's first good fetch counts from then on.
	InstanceID string

	ConnectTimeout time.Duration // of one connection, TLS handshake apart; default 2 s
	RequestTimeout time.Duration // of one request, from dialling to the last byte; default 5 s
	TokenTTL       time.Duration // asked for, whole seconds up to the default of 6 h

	// MaxElapsed is the retry budget of one Fetch: no try begins after it. A Fetch ends at
	// the latest RequestTimeout after it. Default 20 s.
	MaxElapsed time.Duration

	// Dial replaces TCP for an endpoint that is reached otherwise, such as one in memory.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// withDefaults fills in what was left empty and refuses what makes no sense.
func (o Options) withDefaults() (Options, error) {
	if o.Endpoint == "" {
		o.Endpoint = DefaultEndpoint
	}
	if o.Token == "" {
		o.Token = TokenAuto
	}
	setDefault(&o.ConnectTimeout, 2*time.Second)
	setDefault(&o.RequestTimeout, 5*time.Second)
	setDefault(&o.TokenTTL, maxTokenTTL)
	setDefault(&o.MaxElapsed, 20*time.Second)
	return o, o.check()
}

func setDefault(d *time.Duration, value time.Duration) {
	if *d == 0 {
		*d = value
	}
}

func (o Options) check() error {
	if !slices.Contains([]TokenMode{TokenAuto, TokenRequired, TokenOff}, o.Token) {
		return fmt.Errorf(`metadata token mode %q: want "auto", "required" or "off"`, o.Token)
	}
	if o.Version != "" && !slices.Contains(versions, o.Version) {
		return fmt.Errorf("metadata version %q: want one of %q, or none to find out", o.Version, versions)
	}
	if o.InstanceID != "" && !validInstanceID(o.InstanceID) {
		return fmt.Errorf(`instance id %q: want "i-" and letters and digits`, o.InstanceID)
	}
	if min(o.ConnectTimeout, o.RequestTimeout, o.MaxElapsed) < 0 {
		return errors.New("metadata time-outs: want none below zero")
	}
	if o.TokenTTL < time.Second || o.TokenTTL > maxTokenTTL {
		return fmt.Errorf("metadata token life of %s: want 1s to %s", o.TokenTTL, maxTokenTTL)
	}
	return nil
}

// parseEndpoint returns the endpoint as scheme and host. What it refuses may hold a
// password, so only the parts that do not are quoted.
func parseEndpoint(endpoint string) (string, error) {
	const want = `want "http://ADDRESS[:PORT]" or "https://HOST[:PORT]" and nothing after it`
	u, err := url.Parse(endpoint)
	if err != nil {
		return "", fmt.Errorf("metadata endpoint: not a URL, %s", want)
	}
	if u.User != nil || u.Opaque != "" || u.RawQuery != "" || u.Fragment != "" || u.Hostname() == "" {
		return "", fmt.Errorf("metadata endpoint: %s", want)
	}
	if u.Path != "" && u.Path != "/" {
		return "", fmt.Errorf("metadata endpoint %s://%s%s: %s", u.Scheme, u.Host, u.Path, want)
	}
	switch {
	case u.Scheme == "https":
	case u.Scheme != "http":
		return "", fmt.Errorf("metadata endpoint %s://%s: %s", u.Scheme, u.Host, want)
	case !literalHost(u.Hostname()):
		return "", fmt.Errorf("metadata endpoint http://%s: plain http wants an IP address, not a name", u.Host)
	}
	return u.Scheme + "://" + u.Host, nil
}

func literalHost(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil || host == "localhost"
}
