package ecsapi

import (
	"net/http"
	"strconv"
)

// Error is a refusal as the caller sees it: HTTP status, ECS's code and ECS's message, to the letter.
type Error struct {
	Status    int
	Code      string
	Message   string
	Recommend string // empty for the page that explains all codes
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// because adds what is wrong, where the code alone does not tell.
func (e *Error) because(reason string) *Error {
	e.Recommend = reason
	return e
}

// The transport.

func apiNotFound() *Error {
	return &Error{Status: http.StatusNotFound, Code: "InvalidApi.NotFound", Message: "Specified api is not found, please check your url and method."}
}

func unsupportedHTTPMethod() *Error {
	return &Error{Status: http.StatusMethodNotAllowed, Code: "UnsupportedHTTPMethod", Message: "This http method is not supported."}
}

func unsupportedContentType() *Error {
	return &Error{Status: http.StatusUnsupportedMediaType, Code: "UnsupportedContentType", Message: "The body has to be application/x-www-form-urlencoded."}
}

func bodyTooLarge() *Error {
	return &Error{
		Status: http.StatusRequestEntityTooLarge, Code: "RequestTooLarge",
		Message: "The body exceeds " + strconv.Itoa(maxBody) + " bytes.",
	}
}

func addressTooLong() *Error {
	return &Error{
		Status: http.StatusRequestURITooLong, Code: "RequestTooLarge",
		Message: "The address exceeds " + strconv.Itoa(maxAddress) + " bytes.",
	}
}

func malformedRequest(what string) *Error {
	return &Error{Status: http.StatusBadRequest, Code: "InvalidParameter", Message: "The request is not well formatted: " + what + "."}
}

// Who asks.

// missingPart is a part of the signature, or of what every request names, that is not there.
func missingPart(parameter, name string) *Error {
	return &Error{Status: http.StatusBadRequest, Code: "Missing" + parameter, Message: name + " is mandatory for this action."}
}

func incompleteSignature(stringToSign string) *Error {
	return &Error{
		Status: http.StatusBadRequest, Code: "IncompleteSignature",
		Message: "The request signature does not conform to Aliyun standards. server string to sign is:" + told(stringToSign),
	}
}

// told is a string to sign as far as a stranger is told of it: one that is long would have the answer be
// longer than the question.
func told(stringToSign string) string {
	if len(stringToSign) > maxTold {
		return ""
	}
	return stringToSign
}

// signatureDoesNotMatchV1 ends with the string to sign: the Go SDK compares what is behind the colon.
func signatureDoesNotMatchV1(stringToSign string) *Error {
	return &Error{
		Status: http.StatusBadRequest, Code: "SignatureDoesNotMatch",
		Message: "Specified signature is not matched with our calculation. server string to sign is:" + told(stringToSign),
	}
}

// How long a canonical request, and a string to sign, may be that is told, in bytes.
const (
	maxCanonicalRequest = 4 << 10
	maxTold             = 16 << 10
)

// signatureDoesNotMatchV3 tells the canonical request beside the message, in which there is only a hash of it: on
// one line, as a JSON string.
func signatureDoesNotMatchV3(stringToSign, canonicalRequest string) *Error {
	e := &Error{
		Status: http.StatusBadRequest, Code: "SignatureDoesNotMatch",
		Message: "Specified signature does not match our calculation. server StringToSign is [" + stringToSign + "]",
	}
	if canonicalRequest == "" || len(canonicalRequest) > maxCanonicalRequest {
		return e
	}
	return e.because("Compare with the canonical request here: " + string(encode(canonicalRequest)))
}

func accessKeyNotFound() *Error {
	return &Error{Status: http.StatusNotFound, Code: "InvalidAccessKeyId.NotFound", Message: "Specified access key is not found."}
}

func accessKeyInactive() *Error {
	return &Error{Status: http.StatusBadRequest, Code: "InvalidAccessKeyId.Inactive", Message: "Specified access key is disabled."}
}

func timeExpired() *Error {
	return &Error{Status: http.StatusBadRequest, Code: "InvalidTimeStamp.Expired", Message: "Specified time stamp or date value is expired."}
}

func timeFormat() *Error {
	return &Error{Status: http.StatusBadRequest, Code: "InvalidTimeStamp.Format", Message: "Specified time stamp or date value is not well formatted."}
}

func nonceUsed() *Error {
	return &Error{Status: http.StatusBadRequest, Code: "SignatureNonceUsed", Message: "Specified signature nonce was used already."}
}

// What is asked for.

func actionNotFound() *Error {
	return &Error{Status: http.StatusNotFound, Code: "InvalidAction.NotFound", Message: "Specified api is not found, please check your url and method."}
}

func invalidVersion() *Error {
	return &Error{Status: http.StatusBadRequest, Code: "InvalidVersion", Message: "Specified parameter Version is not valid."}
}

func missingParameter(name string) *Error {
	return &Error{
		Status: http.StatusBadRequest, Code: "MissingParameter",
		Message: `The input parameter "` + name + `" that is mandatory for processing this request is not supplied.`,
	}
}

func invalidParameter(name string) *Error {
	return &Error{
		Status: http.StatusBadRequest, Code: "InvalidParameter." + name,
		Message: `The specified parameter "` + name + `" is not valid.`,
	}
}

func regionNotFound() *Error {
	return &Error{Status: http.StatusNotFound, Code: "InvalidRegionId.NotFound", Message: "The specified RegionId does not exist."}
}

// newPairRegionNotFound is regionNotFound in the words of CreateKeyPair and ImportKeyPair.
func newPairRegionNotFound() *Error {
	return &Error{
		Status: http.StatusNotFound, Code: "InvalidRegionId.NotFound",
		Message: "The RegionId provided does not exist in our records.",
	}
}

func internalError() *Error {
	return &Error{
		Status: http.StatusInternalServerError, Code: "InternalError",
		Message: "The request processing has failed due to some unknown error.",
	}
}
