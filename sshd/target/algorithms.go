package target

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	glssh "github.com/gliderlabs/ssh"
	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/sshd"
)

// algorithms are those a server offers, best first.
type algorithms struct{ keyExchanges, ciphers, macs, hostKeys []string }

// standardAlgorithms are offered where the configuration names none. What x/crypto/ssh counts as insecure is not among them
// (CBC, RC4, SHA-1 in a key exchange, ssh-rsa, ssh-dss); and of what it counts as secure not
//   - ecdh-sha2-nistp256, -384 and -521, which an audit fails: where the curves' constants come from is not known;
//   - diffie-hellman-group-exchange-sha256: whatever size a client asks for, the library has a group of 2,048 bits;
//   - hmac-sha1, for its hash.
//
// A configuration that names them gets them. Which keys there are is not decided here: those that the server is given, else one
// of ed25519.
//
// The client chooses among what both have. Strict key exchange (kex-strict-s-v00@openssh.com) comes with the library.
var standardAlgorithms = algorithms{
	keyExchanges: []string{
		ssh.KeyExchangeMLKEM768X25519, ssh.KeyExchangeCurve25519,
		ssh.KeyExchangeDH16SHA512, ssh.KeyExchangeDH14SHA256,
	},
	ciphers: []string{
		ssh.CipherAES128GCM, ssh.CipherAES256GCM, ssh.CipherChaCha20Poly1305,
		ssh.CipherAES128CTR, ssh.CipherAES192CTR, ssh.CipherAES256CTR,
	},
	macs:     []string{ssh.HMACSHA256ETM, ssh.HMACSHA512ETM, ssh.HMACSHA256, ssh.HMACSHA512},
	hostKeys: ssh.SupportedAlgorithms().HostKeys,
}

// agedAlgorithms are those of [OldAlgorithms].
var agedAlgorithms = algorithms{
	keyExchanges: []string{ssh.InsecureKeyExchangeDH14SHA1, ssh.InsecureKeyExchangeDH1SHA1},
	ciphers:      []string{ssh.InsecureCipherAES128CBC, ssh.InsecureCipherTripleDESCBC},
	macs:         []string{ssh.HMACSHA1},
	hostKeys:     []string{ssh.KeyAlgoRSA},
}

// algorithmList is a keyword whose value is a list of algorithms.
type algorithmList struct {
	keyword   string
	standard  []string
	has       []string // what this server could offer
	knows     []string // what only sshd has, of some release since 7.4: to be named, not to be had
	wildcards bool     // everywhere, not only after "-"
}

var (
	keyExchangeList = algorithmList{
		keyword: "KexAlgorithms", standard: standardAlgorithms.keyExchanges,
		has: slices.Concat(ssh.SupportedAlgorithms().KeyExchanges, ssh.InsecureAlgorithms().KeyExchanges, []string{"curve25519-sha256@libssh.org"}),
		knows: []string{
			"sntrup761x25519-sha512", "sntrup761x25519-sha512@openssh.com", "sntrup4591761x25519-sha512@tinyssh.org",
			"diffie-hellman-group18-sha512",
		},
	}
	cipherList = algorithmList{
		keyword: "Ciphers", standard: standardAlgorithms.ciphers,
		has: slices.Concat(ssh.SupportedAlgorithms().Ciphers, ssh.InsecureAlgorithms().Ciphers),
		knows: []string{
			"aes192-cbc", "aes256-cbc", "rijndael-cbc@lysator.liu.se", "blowfish-cbc", "cast128-cbc",
		},
	}
	macList = algorithmList{
		keyword: "MACs", standard: standardAlgorithms.macs,
		has: slices.Concat(ssh.SupportedAlgorithms().MACs, ssh.InsecureAlgorithms().MACs),
		knows: []string{
			"umac-64@openssh.com", "umac-128@openssh.com", "umac-64-etm@openssh.com", "umac-128-etm@openssh.com",
			"hmac-sha1-etm@openssh.com", "hmac-sha1-96-etm@openssh.com", "hmac-md5", "hmac-md5-96",
			"hmac-md5-etm@openssh.com", "hmac-md5-96-etm@openssh.com", "hmac-ripemd160", "hmac-ripemd160@openssh.com",
			"hmac-ripemd160-etm@openssh.com",
		},
	}
	hostKeyList = algorithmList{
		keyword: "HostKeyAlgorithms", standard: standardAlgorithms.hostKeys, wildcards: true,
		has: slices.Concat(ssh.SupportedAlgorithms().HostKeys, ssh.InsecureAlgorithms().HostKeys),
		knows: []string{
			"sk-ssh-ed25519@openssh.com", "sk-ssh-ed25519-cert-v01@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com",
			"sk-ecdsa-sha2-nistp256-cert-v01@openssh.com", "webauthn-sk-ecdsa-sha2-nistp256@openssh.com",
		},
	}
)

// parseAlgorithms reads the lists of a configuration.
func parseAlgorithms(values map[string][]string) (algorithms, error) {
	var a algorithms
	for _, l := range []struct {
		list *algorithmList
		into *[]string
	}{
		{&keyExchangeList, &a.keyExchanges},
		{&cipherList, &a.ciphers},
		{&macList, &a.macs},
		{&hostKeyList, &a.hostKeys},
	} {
		value := ""
		if args := values[strings.ToLower(l.list.keyword)]; len(args) > 0 {
			value = args[0]
		}
		var err error
		if *l.into, err = l.list.parse(value); err != nil {
			return algorithms{}, err
		}
	}
	return a, nil
}

// parse is the list that value makes of the standard one: "+" appends, "-" takes away, "^" puts in front, else it
// is value alone (sshd_config(5)).
func (l *algorithmList) parse(value string) ([]string, error) {
	var offered []string
	var err error
	switch operator, names := cutOperator(value); {
	case value == "":
		return l.standard, nil
	case operator == '-':
		offered = slices.DeleteFunc(slices.Clone(l.standard), func(name string) bool { return sshd.MatchesList(name, names) })
	case operator == '+':
		offered, err = l.named(names)
		offered = slices.Concat(l.standard, offered)
	case operator == '^':
		offered, err = l.named(names)
		offered = slices.Concat(offered, l.standard)
	default:
		offered, err = l.named(names)
	}
	if err == nil && len(offered) == 0 {
		err = fmt.Errorf("%s %s: this server has none of them", l.keyword, value)
	}
	return unique(offered), err
}

func cutOperator(value string) (operator byte, names string) {
	if value != "" && strings.IndexByte("+-^", value[0]) >= 0 {
		return value[0], value[1:]
	}
	return 0, value
}

// named are those of the names that this server has. A name that nobody knows is an error.
func (l *algorithmList) named(names string) ([]string, error) {
	var all []string
	for name := range strings.SplitSeq(names, ",") {
		matches := func(known string) bool { return known == name }
		if l.wildcards {
			matches = func(known string) bool { return sshd.MatchesList(known, name) }
		}
		if !slices.ContainsFunc(slices.Concat(l.has, l.knows), matches) {
			return nil, fmt.Errorf("%s: unknown algorithm %q", l.keyword, name)
		}
		for _, has := range l.has {
			if matches(has) {
				all = append(all, has)
			}
		}
	}
	return all, nil
}

// unique keeps the first of each name.
func unique(names []string) []string {
	var once []string
	for _, name := range names {
		if !slices.Contains(once, name) {
			once = append(once, name)
		}
	}
	return once
}

// config are the library's settings.
func (a algorithms) config() ssh.Config {
	return ssh.Config{KeyExchanges: a.keyExchanges, Ciphers: a.ciphers, MACs: a.macs}
}

// usable are the keys that may be used, for the signatures that may.
func (a algorithms) usable(keys []glssh.Signer) ([]glssh.Signer, error) {
	var usable []glssh.Signer
	for _, key := range keys {
		signatures := signaturesBy(key)
		allowed := slices.DeleteFunc(slices.Clone(signatures), func(name string) bool { return !slices.Contains(a.hostKeys, name) })
		switch {
		case len(allowed) == len(signatures):
			usable = append(usable, key)
		case len(allowed) > 0:
			restricted, err := ssh.NewSignerWithAlgorithms(key.(ssh.AlgorithmSigner), allowed)
			if err != nil {
				return nil, fmt.Errorf("host key of type %s: %w", key.PublicKey().Type(), err)
			}
			usable = append(usable, restricted)
		}
	}
	if len(usable) == 0 {
		return nil, errors.New("HostKeyAlgorithms allows none of the host keys")
	}
	return usable, nil
}

// signaturesBy are the algorithms that a key signs with.
func signaturesBy(key ssh.Signer) []string {
	if several, ok := key.(ssh.MultiAlgorithmSigner); ok {
		return several.Algorithms()
	}
	if _, ok := key.(ssh.AlgorithmSigner); ok && key.PublicKey().Type() == ssh.KeyAlgoRSA {
		return []string{ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSA}
	}
	return []string{key.PublicKey().Type()}
}
