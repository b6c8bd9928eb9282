package ecscli

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/latchkey-ssh/latchkey/cmd/internal/cli"
	"github.com/latchkey-ssh/latchkey/keypair/ecsclient"
)

// finish says what went wrong and what to do next, and makes of it the exit code. The ways of a desk are others than
// those of an instance, of which package cli knows: to become root helps nobody here.
func (d *desk) finish(ctx context.Context, err error) error {
	var exit cli.ExitError
	var usage cli.UsageError
	switch {
	case err == nil, errors.As(err, &exit), errors.Is(err, errNoKey): // the last has lines of its own
		return err
	case errors.As(err, &usage):
		return cli.UsageError{Err: errors.New(cli.Plain(err.Error()))}
	}
	if ctx.Err() != nil && !errors.As(err, new(*explained)) {
		err = errors.New("interrupted: what was sent before that was done, or may have been")
	}
	fmt.Fprintf(d.stderr, "latchkey: %s\n", cli.Plain(err.Error()))
	if next := hint(err); next != "" {
		fmt.Fprintf(d.stderr, "latchkey: %s\n", cli.Plain(next))
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
	{"InvalidResourceId.NotFound", "latchkey keypair list shows the key pairs of the region"}, // of tags
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
	var lost *ecsclient.NetworkError
	switch {
	case errors.Is(err, ecsclient.ErrSpeaksTLS):
		return speaksTLS
	case errors.As(err, &lost):
		return networkHint(lost)
	case errors.As(err, &refused) && refused.Code == "", errors.Is(err, ecsclient.ErrNoAnswer): // what came is not ECS's
		return "is the endpoint right? see --endpoint"
	}
	return ""
}

const speaksTLS = "the endpoint speaks TLS: write it with https://"

// networkHint is for a request without an answer.
func networkHint(lost *ecsclient.NetworkError) string {
	var unknownAuthority x509.UnknownAuthorityError
	switch {
	case errors.Is(lost, context.Canceled):
		return ""
	case strings.Contains(lost.Error(), "server gave HTTP response to HTTPS client"):
		return "the endpoint speaks plain HTTP: write it with http://"
	case strings.Contains(lost.Error(), `malformed HTTP response "\x15\x03`): // an alert (RFC 8446 section 6)
		return speaksTLS
	case errors.As(lost, &unknownAuthority):
		return "the endpoint's certificate comes from an authority that is not known here: SSL_CERT_FILE names a file of those to trust"
	case lost.Plain && (errors.Is(lost, syscall.ECONNRESET) || errors.Is(lost, io.EOF)):
		// What a service for TLS says of plain HTTP is lost when it hangs up at once.
		return "is the endpoint right, and does its service run? if it speaks TLS, write it with https://"
	case isCloudsOwn(lost):
		return "the cloud has no such region, or cannot be reached; a region of keypaird's is named by LATCHKEY_ECS_ENDPOINT or --endpoint: keypaird prints its address"
	}
	return "is the endpoint right, and does its service run? see --endpoint"
}

// isCloudsOwn tells whether the host that was not found is the one that is asked where no endpoint is set.
func isCloudsOwn(lost *ecsclient.NetworkError) bool {
	var lookup *net.DNSError
	return errors.As(lost, &lookup) && lookup.Name == lost.Host && strings.HasSuffix(lost.Host, ".aliyuncs.com")
}
