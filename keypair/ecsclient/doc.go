// Package ecsclient calls the part of the ECS API that key pairs need, version 2014-05-26, signed
// by ACS3-HMAC-SHA256: keypaird's as well as the cloud's own. It takes loosely what it reads, since services
// differ in which numbers they write as text, and gives typed values; what the service refuses is an *Error.
package ecsclient
