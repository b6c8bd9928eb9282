package sshd

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// proverOf is a prover that was refused with this log, under this text.
func proverOf(t *testing.T, log []string, text string) *prover {
	t.Helper()
	c := &Candidate{text: readText(t, map[string]string{"/etc/ssh/sshd_config": text})}
	var err error
	if c.Key, err = NewOneTimeKey(); err != nil {
		t.Fatal(err)
	}
	accepting := Config{"passwordauthentication": {"no"}, "forcecommand": {"none"}, "chrootdirectory": {"none"}}
	for _, keyword := range []string{"allowusers", "allowgroups", "requiredrsasize", "usepam", "chrootdirectory"} {
		if d, ok := c.text.deciding(keyword, FromLoopback("u", 22)); ok {
			accepting[keyword] = d.Args
		}
	}
	c.Config = DefaultConfig
	key := PublicKey{Type: "ssh-ed25519"}
	return &prover{
		candidate: c, subject: Subject{User: "u", UID: 1000, Keys: []PublicKey{key}}, questions: []keyQuestion{{c.Config, key}},
		answers: []Answer{{Key: Refused, Reason: "the key is not accepted"}}, logonSays: Accepted,
		logs: [][]string{log, nil}, configs: []Config{accepting, accepting},
	}
}

func TestEveryReleasesWordingIsUnderstood(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		said, config string
		want         Cause
	}{
		{
			"Authentication refused: bad ownership or modes for directory /home/u [preauth]", "",
			Cause{"strict-modes", "StrictModes: bad ownership or modes for directory /home/u", "make u or root its owner, and take write permission from group and others: chmod go-w"},
		},
		{
			"User u from 127.0.0.1 not allowed because none of user's groups are listed in AllowGroups", "AllowGroups wheel",
			Cause{"allow-groups", "AllowGroups wheel lists no group of u (/etc/ssh/sshd_config:1)", "list a group of u in AllowGroups, or add u to one that is: usermod -aG GROUP u"},
		},
		{ // 8.4
			"userauth_pubkey: key type ssh-rsa not in PubkeyAcceptedKeyTypes [preauth]", "",
			Cause{"key-type-not-accepted", "PubkeyAcceptedAlgorithms does not list ssh-rsa", keyTypeRemedy},
		},
		{ // 9.2
			"userauth_pubkey: signature algorithm rsa-sha2-512 not in PubkeyAcceptedAlgorithms [preauth]", "",
			Cause{"key-type-not-accepted", "PubkeyAcceptedAlgorithms does not list rsa-sha2-512", keyTypeRemedy},
		},
		{
			"Error checking authentication key RSA SHA256:x in revoked keys file /etc/r: No such file or directory", "\nRevokedKeys /etc/r",
			Cause{"revoked-keys-unreadable", "RevokedKeys names /etc/r, which sshd cannot read, so it refuses every key (/etc/ssh/sshd_config:2)", "put the file in place, or take RevokedKeys out"},
		},
		{
			"Authentication key RSA SHA256:x revoked by file /etc/r", "",
			Cause{"revoked-key", "RevokedKeys: the bound key is listed in /etc/r", "bind another key pair: this key was revoked"},
		},
		{
			"User u not allowed because account is locked", "UsePAM no",
			Cause{"account-locked", "the account u is locked, and UsePAM is no (/etc/ssh/sshd_config:1)", "usermod --unlock u, or without a password: usermod --password '*' u"},
		},
		{
			"fatal: Access denied for user u by PAM account configuration [preauth]", "",
			Cause{"pam-account", "PAM's account stack refuses u", "see the account lines of /etc/pam.d/sshd, access.conf(5) and time.conf(5)"},
		},
		{
			"nothing that is known", "",
			Cause{"key-refused", "key SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU: the key is not accepted", "run sshd -d on another port and log in to see why"},
		},
	} {
		p := proverOf(t, []string{"debug1: attempt 1 failures 0", c.said}, c.config)
		p.configs[0]["authorizedkeysfile"], p.configs[1]["authorizedkeysfile"] = []string{".ssh/a"}, []string{".ssh/a"}
		if diff := cmp.Diff([]Cause{c.want}, p.causes()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.said, diff)
		}
	}
}

// TestWhatALogSaysCannotFillInPlaceholders: names in it come from outside.
func TestWhatALogSaysCannotFillInPlaceholders(t *testing.T) {
	t.Parallel()
	p := proverOf(t, []string{"Authentication refused: bad ownership or modes for directory /home/$1-USER"}, "")
	causes := p.causes()
	if len(causes) != 1 || !strings.HasSuffix(causes[0].Detail, "/home/$1-USER") {
		t.Errorf("causes %+v, want the folder as it is called", causes)
	}
}

func TestACauseFoundInTheAccountReplacesItsEchoes(t *testing.T) {
	t.Parallel()
	proof := Proof{Causes: []Cause{{ID: "pam-account"}, {ID: "strict-modes"}, {ID: "account-locked"}, {ID: "account-expired", Detail: "less"}, {ID: "logon-refused"}}}
	proof.AddCause(Cause{ID: "account-expired", Detail: "on 2020-01-01"})
	want := []Cause{{ID: "strict-modes"}, {ID: "account-expired", Detail: "on 2020-01-01"}}
	if diff := cmp.Diff(want, proof.Causes); diff != "" {
		t.Errorf("causes (-want +got):\n%s", diff)
	}
}

func TestAllowUsersSpeaksOfLogonsFromElsewhere(t *testing.T) {
	t.Parallel()
	for entry, want := range map[string]bool{
		"u": true, "*": true, "u?": false, "alice": false, "u@10.0.0.0/8": true, "u@*": true,
		"u@127.0.0.1": false, "u@127.*": false, "u@localhost": false, "u@::1": false, "alice@10.0.0.1": false,
	} {
		if got := (Subject{User: "u"}).isListed(entry); got != want {
			t.Errorf("%s lists u: %v, want %v", entry, got, want)
		}
	}
}

func TestTheLineThatDecidesIsTheMatchingBlocks(t *testing.T) {
	t.Parallel()
	text := readText(t, map[string]string{"/etc/ssh/sshd_config": strings.Join([]string{
		"PermitRootLogin yes", "PermitRootLogin no", "Match User other", "PermitRootLogin no",
		"Match Address 203.0.113.0/24", "PermitRootLogin prohibit-password",
	}, "\n")})
	for name, c := range map[string]struct {
		conn Connection
		want int
	}{
		"loopback": {FromLoopback("u", 22), 1},
		"outside":  {FromOutside("u", 22), 6},
		"other":    {FromOutside("other", 22), 4},
	} {
		if d, ok := text.deciding("permitrootlogin", c.conn); !ok || d.Line != c.want {
			t.Errorf("%s: line %d, want %d", name, d.Line, c.want)
		}
	}
	if _, ok := text.deciding("allowusers", FromLoopback("u", 22)); ok {
		t.Error("a line was found for a keyword that none sets")
	}
}
