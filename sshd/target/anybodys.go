package target

import (
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"
)

// anybodys is what the library has to be told before a user is known: all that any line of the configuration lets
// anybody have. What a user may have of it is asked later.
type anybodys struct {
	signatures []string // algorithms, without those of certificates
	authTries  int
}

// forAnybody asks all Match blocks.
func (c *Config) forAnybody() (anybodys, error) {
	var all anybodys
	for _, value := range c.anyValues("maxauthtries") {
		n, err := strconv.Atoi(value)
		if err != nil {
			return anybodys{}, err
		}
		all.authTries = max(all.authTries, n, 1)
	}
	for _, value := range c.anyValues("pubkeyacceptedalgorithms") {
		names, err := pubkeyList.parse(value)
		if err != nil {
			return anybodys{}, err
		}
		for _, name := range names {
			all.signatures = append(all.signatures, signatureOf(name))
		}
	}
	all.signatures = unique(all.signatures)
	return all, nil
}

// anyValues are all that a keyword can be for somebody; the default only where no line outside of Match blocks sets it.
func (c *Config) anyValues(keyword string) []string {
	var values []string
	always := false
	for _, d := range c.text.Directives {
		if d.Name() == keyword {
			values, always = append(values, d.Args[0]), always || d.Match == nil
		}
	}
	if !always {
		values = append(values, strings.Join(c.standard[keyword], " "))
	}
	return values
}

const certSuffix = "-cert-v01@openssh.com"

// certificateOf is the name of an algorithm for certificates (PROTOCOL.certkeys), signatureOf the reverse.
func certificateOf(algorithm string) string {
	return strings.TrimSuffix(algorithm, "@openssh.com") + certSuffix
}

func signatureOf(algorithm string) string {
	plain, certified := strings.CutSuffix(algorithm, certSuffix)
	if certified && strings.HasPrefix(plain, "sk-") {
		return plain + "@openssh.com"
	}
	return plain
}

// withCertificates are the algorithms and those for certificates of the same keys.
func withCertificates(algorithms []string) []string {
	all := slices.Clone(algorithms)
	for _, name := range algorithms {
		all = append(all, certificateOf(name))
	}
	return all
}

// The lists that are asked of users' keys.
var (
	pubkeyList = algorithmList{
		keyword:   "PubkeyAcceptedAlgorithms",
		standard:  withCertificates(ssh.SupportedAlgorithms().PublicKeyAuths),
		has:       withCertificates(slices.Concat(ssh.SupportedAlgorithms().PublicKeyAuths, ssh.InsecureAlgorithms().PublicKeyAuths)),
		knows:     []string{"webauthn-sk-ecdsa-sha2-nistp256@openssh.com"},
		wildcards: true,
	}
	authorityList = algorithmList{
		keyword:   "CASignatureAlgorithms",
		standard:  ssh.SupportedAlgorithms().PublicKeyAuths,
		has:       slices.Concat(ssh.SupportedAlgorithms().PublicKeyAuths, ssh.InsecureAlgorithms().PublicKeyAuths),
		knows:     []string{"webauthn-sk-ecdsa-sha2-nistp256@openssh.com"},
		wildcards: true,
	}
)

// has tells whether the algorithm is in the list that a value makes. A value that cannot be read has none.
func (p *policy) has(list algorithmList, algorithm string) bool {
	names, err := list.parse(p.value(strings.ToLower(list.keyword)))
	return err == nil && slices.Contains(names, algorithm)
}
