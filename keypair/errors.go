package keypair

import "errors"

// What a Region refuses. Errors that wrap one of these say more about the case.
var (
	ErrName                  = errors.New("key pair name: want 2 to 128 letters, digits or . _ - :, a letter first, not http:// or https://")
	ErrPairExists            = errors.New("a key pair of that name exists")
	ErrPairNotFound          = errors.New("no key pair of that name exists")
	ErrPairBound             = errors.New("the key pair is bound to an instance: detach it first")
	ErrPairQuota             = errors.New("the region holds as many key pairs as it may")
	ErrPublicKey             = errors.New("public key")
	ErrKeyType               = errors.New("key type")
	ErrTagKey                = errors.New("tag key: want 1 to 128 characters, not aliyun… or acs:…, without http:// or https://")
	ErrTagValue              = errors.New("tag value: want at most 128 characters, not acs:…, without http:// or https://")
	ErrTagTwice              = errors.New("the same tag key twice")
	ErrTagQuota              = errors.New("more than 20 tags")
	ErrResourceGroup         = errors.New("resource group id: want rg- and letters, digits or -")
	ErrResourceGroupNotFound = errors.New("no resource group of that id exists")
	ErrResourceGroupUsed     = errors.New("a key pair is in the resource group")
	ErrInstanceInvalid       = errors.New("instance")
	ErrInstanceExists        = errors.New("an instance of that id exists")
	ErrInstanceNotFound      = errors.New("no instance of that id exists")
	ErrInstanceStatus        = errors.New("the instance is not in a status that allows it")
	ErrComment               = errors.New("comment: want at most 256 characters on one line")
	ErrWindows               = errors.New("the instance is Windows: it takes no key pair")
)
