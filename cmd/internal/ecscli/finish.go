package ecscli

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/latchkey-ssh/latchkey/cmd/internal/cli"
	"github.com/latchkey-ssh/latchkey/keypair/ecsclient"
)

// finish says what went wrong and what to do next, and makes of it the exit code. The ways of a desk are others than
// those of an instance, of which package cli knows: to become root helps nobody here.
func (d *desk) finish(ctx context.Context, err error) error {
	var exit cli.ExitError
	var usage cli.UsageError
	if err == nil || errors.As(err, &exit) || errors.As(err, &usage) {
		return err
	}
	if ctx.Err() != nil && !errors.As(err, new(*explained)) {
		err = errors.New("interrupted: what was sent before that was done, or may have been")
	}
	fmt.Fprintf(d.stderr, "latchkey: %v\n", err)
	if next := hint(err); next != "" {
		fmt.Fprintf(d.stderr, "latchkey: %s\n", next)
	}
	if notPermitted(err) {
		return cli.ExitError(cli.ExitNoPerm)
	}
	return cli.ExitError(cli.ExitFailed)
}

// explained is an error that says by itself what to do next.
type explained struct {
	err  error
	hint string
}

func (e *explained) Error() string { return e.err.Error() }
func (e *explained) Unwrap() error { return e.err }

// denials are the codes of a service that does not let this access key do it.
var denials = []string{
	"SignatureDoesNotMatch", "IncompleteSignature", "InvalidAccessKeyId", "InvalidSecurityToken", "Forbidden", "NoPermission",
}

func notPermitted(err error) bool { return isAny(err, denials) }

func isAny(err error, codes []string) bool {
	for _, code := range codes {
		if ecsclient.IsCode(err, code) {
			return true
		}
	}
	return false
}

// hints are what to do next, by the code of the service. The first that fits counts.
var hints = []struct{ code, hint string }{
	{"InvalidAccessKeyId.Inactive", "the access key is disabled: enable it, or take another"},
	{"InvalidAccessKeyId", "this service does not know the access key: is it the key for this endpoint?"},
	{"SignatureDoesNotMatch", "the secret is not the one of this access key id"},
	{"IncompleteSignature", "the secret is not the one of this access key id"},
	{"InvalidSecurityToken", "the temporary access key is over, or its token is missing: get a new one"},
	{"InvalidTimeStamp", "this machine's clock and the service's differ by more than 15 minutes"},
	{"Forbidden", "the access key's policy has to allow it"},
	{"NoPermission", "the access key's policy has to allow it"},
	{"KeyPair.AlreadyExist", "choose another name, or delete that one first: latchkey keypair delete"},
	{"InvalidKeyPairName.NotFound", "latchkey keypair list shows the key pairs of the region"},
	{"InvalidKeyPair.NotFound", "latchkey keypair list shows the key pairs of the region"},
	{"InvalidRegionId", "the endpoint does not serve this region: see --region"},
	{"QuotaExceed.KeyPair", "delete key pairs that are not in use: latchkey keypair list --long shows where they are bound"},
	{"InvalidParameter.KeypairAlreadyAttachedInstance", "detach it first: latchkey keypair detach --all NAME"},
	{"Throttling", "try again in a moment"},
}

// hint is what to do next, as far as one can tell.
func hint(err error) string {
	var own *explained
	if errors.As(err, &own) {
		return own.hint
	}
	for _, h := range hints {
		if ecsclient.IsCode(err, h.code) {
			return h.hint
		}
	}
	var refused *ecsclient.Error
	if errors.As(err, &refused) && refused.Code == "" {
		return "is the endpoint right? see --endpoint"
	}
	return networkHint(err)
}

func networkHint(err error) string {
	var unknownAuthority x509.UnknownAuthorityError
	var network net.Error
	switch {
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return "the endpoint speaks plain HTTP: write it with http://"
	case errors.As(err, &unknownAuthority):
		return "the endpoint's certificate comes from an authority that is not known here: SSL_CERT_FILE names a file of those to trust"
	case errors.As(err, &network):
		return "is the endpoint right, and does its service run? see --endpoint"
	}
	return ""
}
