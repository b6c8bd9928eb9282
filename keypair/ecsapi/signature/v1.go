package signature

import "time"

// SignV1 adds to a request's parameters those that V1 needs, the signature among them. The
// request has to be sent with all of them, in its query or in its form.
func SignV1(method string, parameters map[string]string, key AccessKey, now time.Time, nonce string) {
	parameters["AccessKeyId"] = key.ID
	parameters["SignatureMethod"] = "HMAC-SHA1"
	parameters["SignatureVersion"] = "1.0"
	parameters["SignatureNonce"] = nonce
	parameters["Timestamp"] = formatTime(now)
	if key.SecurityToken != "" {
		parameters["SecurityToken"] = key.SecurityToken
	}
	parameters["Signature"] = sign(V1, key.Secret, stringToSignV1(method, parameters))
}

// ReadV1 returns the claim in a request's parameters: those of its query and of its form. Errors are
// a *MissingError or ErrIncomplete; the claim has its StringToSign even then.
func ReadV1(method string, parameters map[string]string) (Claim, error) {
	claim := Claim{
		Version:      V1,
		AccessKeyID:  parameters["AccessKeyId"],
		Nonce:        parameters["SignatureNonce"],
		Time:         parameters["Timestamp"],
		StringToSign: stringToSignV1(method, parameters),
		signature:    parameters["Signature"],
	}
	for _, name := range []string{
		"AccessKeyId", "Signature", "SignatureMethod", "SignatureVersion", "SignatureNonce", "Timestamp",
	} {
		if parameters[name] == "" {
			return claim, &MissingError{Parameter: name, Name: name}
		}
	}
	if parameters["SignatureMethod"] != "HMAC-SHA1" || parameters["SignatureVersion"] != "1.0" {
		return claim, ErrIncomplete
	}
	return claim, nil
}

func stringToSignV1(method string, parameters map[string]string) string {
	signed := make(map[string]string, len(parameters))
	for name, value := range parameters {
		if name != "Signature" {
			signed[name] = value
		}
	}
	return method + "&%2F&" + Encode(EncodeAll(signed))
}
