// Package signature is how a caller of the ECS API shows that it holds an access key's
// secret, without sending it: an HMAC over the request. There are two ways, and both are here
// for both sides, so that client and server cannot differ by what they hash.
//
//   - V1 (HMAC-SHA1) signs the parameters, of which the signature is one. It does not cover headers.
//   - V3 (ACS3-HMAC-SHA256) signs method, path, query, the headers that count and the body, and is
//     itself a header.
//
// A signature is one text and no other: a verifier compares it byte for byte, in a time that does not
// tell how far it was right. Whether the time in it is near and the nonce new is the verifier's caller
// to ask.
//
// Sources: Alibaba Cloud, "Request syntax and signature method V3" and "RPC signature (V1)".
package signature
