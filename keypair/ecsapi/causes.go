package ecsapi

import (
	"errors"

	"github.com/latchkey-ssh/latchkey/keypair"
)

// cause is what a refusal, mostly a Region's, is called on the wire.
type cause struct {
	err    error
	action string // the one in which it is called so; empty for all others
	wire   func() *Error
}

var causes = []cause{
	{errRegion, "CreateKeyPair", newPairRegionNotFound},
	{errRegion, "ImportKeyPair", newPairRegionNotFound},
	{errRegion, "", regionNotFound},
	{keypair.ErrName, "", pairNameMalformed},
	{keypair.ErrPairExists, "", pairExists},
	{keypair.ErrPairQuota, "", pairQuota},
	{keypair.ErrPairNotFound, "DeleteKeyPairs", pairNotFound},
	{keypair.ErrPairNotFound, "TagResources", resourceNotFound},
	{keypair.ErrPairNotFound, "UntagResources", resourceNotFound},
	{keypair.ErrPairNotFound, "", pairNameNotFound},
	{keypair.ErrPairBound, "", pairBound},
	{keypair.ErrPublicKey, "", publicKeyMalformed},
	{keypair.ErrKeyType, "", func() *Error { return invalidParameter("KeyType") }},
	{keypair.ErrTagTwice, "", tagTwice},
	{keypair.ErrTagKey, "", tagKeyMalformed},
	{keypair.ErrTagValue, "", tagValueMalformed},
	{keypair.ErrTagQuota, "", tagQuota},
	{keypair.ErrResourceGroupNotFound, "", resourceGroupNotFound},
	{keypair.ErrInstanceNotFound, "", instanceNotFound},
	{keypair.ErrInstanceStatus, "", instanceStatus},
	{keypair.ErrWindows, "", windowsInstance},
	{keypair.ErrAccessKeyNotFound, "", accessKeyNotFound},
	{keypair.ErrNonceUsed, "", nonceUsed},
}

// refusal is an error in ECS's words. One that has none is an InternalError, which tells nothing.
func refusal(action string, err error) *Error {
	if e := (*Error)(nil); errors.As(err, &e) {
		return e
	}
	for _, c := range causes {
		if errors.Is(err, c.err) && (c.action == "" || c.action == action) {
			return explain(c.wire(), err)
		}
	}
	return internalError()
}

// explain adds why a public key was refused, which is not one thing as with the other codes.
func explain(e *Error, err error) *Error {
	if errors.Is(err, keypair.ErrPublicKey) {
		return e.because(err.Error())
	}
	return e
}
