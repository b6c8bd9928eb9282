package signature

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	scheme = "ACS3-HMAC-SHA256"
	prefix = "x-acs-" // of the headers that always have to be signed
)

// SignV3 signs a request that is otherwise ready, x-acs-action and x-acs-version included; body is what it
// will send, nil for nothing. It adds headers and writes the query in the form that is signed. A
// parameter may be in the query once.
func SignV3(r *http.Request, body []byte, key AccessKey, now time.Time, nonce string) {
	r.Header.Set("x-acs-date", formatTime(now))
	r.Header.Set("x-acs-signature-nonce", nonce)
	r.Header.Set("x-acs-content-sha256", hash(body))
	if key.SecurityToken != "" {
		r.Header.Set("x-acs-accesskey-id", key.ID)
		r.Header.Set("x-acs-security-token", key.SecurityToken)
	}
	query := map[string]string{}
	for name, values := range r.URL.Query() {
		query[name] = values[0]
	}
	r.URL.RawQuery = EncodeAll(query)
	signed := headersToSign(r)
	signature := sign(V3, key.Secret, stringToSignV3(canonicalRequest(r, r.URL.RawQuery, signed, body)))
	r.Header.Set("Authorization", scheme+
		" Credential="+key.ID+",SignedHeaders="+strings.Join(signed, ";")+",Signature="+signature)
}

// IsV3 tells whether a request is signed by V3, or means to be.
func IsV3(r *http.Request) bool { return r.Header.Get("Authorization") != "" }

// ReadV3 returns the claim in a request with that query and body. The signature has to cover every header
// that has a meaning here: host and all x-acs-… ones. Errors are a *MissingError or ErrIncomplete.
func ReadV3(r *http.Request, query map[string]string, body []byte) (Claim, error) {
	claim, signed, err := parseAuthorization(r.Header.Values("Authorization"))
	if err != nil {
		return claim, err
	}
	for _, part := range []MissingError{
		{"Timestamp", "x-acs-date"},
		{"SignatureNonce", "x-acs-signature-nonce"},
		{"ContentSha256", "x-acs-content-sha256"},
	} {
		if r.Header.Get(part.Name) == "" {
			return claim, &part
		}
	}
	claim.Time, claim.Nonce = headerValue(r, "x-acs-date"), headerValue(r, "x-acs-signature-nonce")
	canonical := canonicalRequest(r, EncodeAll(query), signed, body)
	claim.StringToSign = stringToSignV3(canonical)
	if !coverAll(r, signed) {
		return claim, ErrIncomplete
	}
	if repeatable(r, signed) {
		claim.CanonicalRequest = canonical
	}
	return claim, nil
}

// repeatable tells whether the headers that are signed are the caller's own and no secret.
func repeatable(r *http.Request, signed []string) bool {
	own := headersToSign(r)
	return !slices.ContainsFunc(signed, func(name string) bool {
		return name == "x-acs-security-token" || !slices.Contains(own, name)
	})
}

// parseAuthorization reads "ACS3-HMAC-SHA256 Credential=…,SignedHeaders=a;b,Signature=…".
func parseAuthorization(headers []string) (claim Claim, signed []string, err error) {
	claim.Version = V3
	if len(headers) != 1 {
		return claim, nil, ErrIncomplete
	}
	name, fields, _ := strings.Cut(headers[0], " ")
	parts := strings.Split(fields, ",")
	if name != scheme || len(parts) != 3 {
		return claim, nil, ErrIncomplete
	}
	var names string
	for i, field := range []struct {
		name  string
		value *string
	}{{"Credential", &claim.AccessKeyID}, {"SignedHeaders", &names}, {"Signature", &claim.signature}} {
		value, ok := strings.CutPrefix(strings.TrimSpace(parts[i]), field.name+"=")
		if !ok || value == "" {
			return claim, nil, ErrIncomplete
		}
		*field.value = value
	}
	return claim, strings.Split(names, ";"), nil
}

// coverAll tells whether the signed names are as they have to be, in order and each once, and leave
// out nothing that counts. A header that is there twice has no one value to sign.
func coverAll(r *http.Request, signed []string) bool {
	if !slices.IsSorted(signed) || len(slices.Compact(slices.Clone(signed))) != len(signed) {
		return false
	}
	for _, name := range signed {
		if name != strings.ToLower(name) || len(r.Header.Values(name)) > 1 {
			return false
		}
	}
	return !slices.ContainsFunc(headersToSign(r), func(name string) bool {
		return name != "content-type" && !slices.Contains(signed, name)
	})
}

// headersToSign are the request's headers that a client signs, in order.
func headersToSign(r *http.Request) []string {
	names := []string{"host"}
	for name := range r.Header {
		if name = strings.ToLower(name); strings.HasPrefix(name, prefix) || name == "content-type" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func stringToSignV3(canonicalRequest string) string {
	return scheme + "\n" + hash([]byte(canonicalRequest))
}

func canonicalRequest(r *http.Request, query string, signed []string, body []byte) string {
	var headers strings.Builder
	for _, name := range signed {
		headers.WriteString(name + ":" + headerValue(r, name) + "\n")
	}
	path := r.URL.EscapedPath()
	if path == "" {
		path = "/"
	}
	return strings.Join([]string{
		r.Method, path, query, headers.String(), strings.Join(signed, ";"), hash(body),
	}, "\n")
}

// headerValue is a header as it is signed, and so the only form in which it may be used: what is
// trimmed is not signed. It is what HTTP takes for white space (RFC 9110 section 5.5), and no more. The host is not among a request's headers in Go.
func headerValue(r *http.Request, name string) string {
	switch {
	case name != "host":
		return strings.Trim(r.Header.Get(name), " \t")
	case r.Host != "":
		return r.Host
	}
	return r.URL.Host
}

func hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
