package ecsapi

import "net/http"

// Key pairs.

func pairNameMalformed() *Error {
	return &Error{Status: http.StatusBadRequest, Code: "InvalidKeyPairName.Malformed", Message: "Specified Key Pair name is not valid."}
}

func pairExists() *Error {
	return &Error{Status: http.StatusBadRequest, Code: "KeyPair.AlreadyExist", Message: "The key pair already exist."}
}

func pairQuota() *Error {
	return &Error{Status: http.StatusForbidden, Code: "QuotaExceed.KeyPair", Message: "The key pair quota exceeds."}
}

func pairNameNotFound() *Error {
	return &Error{
		Status: http.StatusBadRequest, Code: "InvalidKeyPairName.NotFound",
		Message: "The specified KeyPairName does not exist in our records.",
	}
}

// pairNotFound is DeleteKeyPairs' own: some clients take this code for "deleted already".
func pairNotFound() *Error {
	return &Error{
		Status: http.StatusNotFound, Code: "InvalidKeyPair.NotFound",
		Message: "The specified KeyPairName does not exist in our records.",
	}
}

func pairBound() *Error {
	return &Error{
		Status: http.StatusBadRequest, Code: "InvalidParameter.KeypairAlreadyAttachedInstance",
		Message: `The specified parameter "KeyPairNames" attached to instances can not be deleted.`,
	}
}

func publicKeyMalformed() *Error {
	return &Error{
		Status: http.StatusBadRequest, Code: "InvalidPublicKeyBody.Malformed",
		Message: "The PublicKeyBody format is not supported.",
	}
}

func pairNamesNotSupported() *Error {
	return &Error{
		Status: http.StatusBadRequest, Code: "InvalidKeyPairNames.ValueNotSupported",
		Message: `The specified parameter "KeyPairNames" is not valid.`,
	}
}

func tooManyPairNames() *Error {
	return &Error{
		Status: http.StatusForbidden, Code: "InstanceKeyPairLimitExceeded",
		Message: "Exceeding the allowed amount of instance which will be deleted.",
	}
}

// Tags and resource groups.

func tagTwice() *Error {
	return &Error{Status: http.StatusBadRequest, Code: "Duplicate.TagKey", Message: "The Tag.N.Key contain duplicate key."}
}

func tagKeyMalformed() *Error {
	return &Error{Status: http.StatusBadRequest, Code: "InvalidTagKey.Malformed", Message: "The specified Tag.n.Key is not valid."}
}

func tagValueMalformed() *Error {
	return &Error{Status: http.StatusBadRequest, Code: "InvalidTagValue.Malformed", Message: "The specified Tag.n.Value is not valid."}
}

func tagQuota() *Error {
	return &Error{Status: http.StatusForbidden, Code: "QuotaExceed.Tags", Message: "The tag quota of the key pair exceeds: 20 tags."}
}

func resourceTypeNotFound() *Error {
	return &Error{
		Status: http.StatusNotFound, Code: "InvalidResourceType.NotFound",
		Message: "The ResourceType provided does not exist in our records.",
	}
}

func resourceNotFound() *Error {
	return &Error{
		Status: http.StatusNotFound, Code: "InvalidResourceId.NotFound",
		Message: "The specified ResourceIds are not found in our records.",
	}
}

func resourceGroupNotFound() *Error {
	return &Error{
		Status: http.StatusNotFound, Code: "InvalidResourceGroup.NotFound",
		Message: "The ResourceGroup provided does not exist in our records.",
	}
}

// Instances.

func instanceIDsNotSupported() *Error {
	return &Error{
		Status: http.StatusBadRequest, Code: "InvalidInstanceIds.ValueNotSupported",
		Message: "The specified parameter InstanceIds is not valid.",
	}
}

func instanceNotFound() *Error {
	return &Error{Status: http.StatusNotFound, Code: "InvalidInstanceId.NotFound", Message: "The specified InstanceId does not exist."}
}

func instanceStatus() *Error {
	return &Error{
		Status: http.StatusForbidden, Code: "IncorrectInstanceStatus",
		Message: "The current status of the resource does not support this operation.",
	}
}

func windowsInstance() *Error {
	return &Error{
		Status: http.StatusForbidden, Code: "DependencyViolation.WindowsInstance",
		Message: "The instance creating is windows, cannot use ssh key pair to login",
	}
}

func dryRun() *Error {
	return &Error{
		Status: http.StatusBadRequest, Code: "DryRunOperation",
		Message: "Request validation has been passed with DryRun flag set.",
	}
}
