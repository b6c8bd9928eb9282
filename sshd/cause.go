package sshd

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// causes names everything that speaks against the key: what the effective
// configuration says, what sshd's own log says, and, when neither explains an
// answer, the answer itself.
func (p *prover) causes() []Cause {
	found := addCauses(p.configCauses(), p.logCauses()...)
	found = addCauses(found, p.chainCauses()...)
	if len(found) == 0 {
		found = p.unexplained()
	}
	return found
}

// addCauses adds those whose ID is not there yet.
func addCauses(found []Cause, more ...Cause) []Cause {
	for _, c := range more {
		if !slices.ContainsFunc(found, func(f Cause) bool { return f.ID == c.ID }) {
			found = append(found, c)
		}
	}
	return found
}

// AddCause adds what was found out elsewhere to speak against the key. It takes
// the place of what sshd has less to say about: the same cause, one that only
// tells that the logon failed, and "locked", which sshd 9 and later without PAM
// also says of an expired account.
func (p *Proof) AddCause(c Cause) {
	p.Causes = slices.DeleteFunc(p.Causes, func(f Cause) bool {
		echo := f.ID == causeLogon+string(Refused) || f.ID == causePAM
		return echo || f.ID == c.ID || (f.ID == causeLocked && c.ID == causeExpired)
	})
	p.Causes = append(p.Causes, c)
}

// IDs that are given in more than one place.
const (
	causeConfig  = "sshd-config"
	causeKey     = "key-"   // and a verdict
	causeLogon   = "logon-" // and a verdict
	causePAM     = "pam-account"
	causeLocked  = "account-locked"
	causeExpired = "account-expired"
	causeKeyType = "key-type-not-accepted"
)

// unexplained are causes that only repeat what was seen.
func (p *prover) unexplained() []Cause {
	var found []Cause
	if p.configErr != nil {
		found = append(found, p.configCause())
	}
	for i, a := range p.answers {
		if a.Key != Accepted {
			detail := fmt.Sprintf("key %s: %s", p.questions[i].key.Fingerprint(), a.Reason)
			if p.questions[i].config == p.candidate.Command {
				detail += " when AuthorizedKeysCommand alone is asked"
			}
			found = addCauses(found, Cause{causeKey + string(a.Key), detail, "run sshd -d on another port and log in to see why"})
		}
	}
	if chroot := p.chroot(); p.logonSays == Refused && chroot != "" {
		return append(found, Cause{
			"chroot-directory", "ChrootDirectory " + chroot + p.position("chrootdirectory", p.connection(loopbackLogon)) +
				" has no working shell for " + p.subject.User + ": " + p.logonWhy,
			"put one there, or take ChrootDirectory out for " + p.subject.User,
		})
	}
	if p.logonSays != Accepted {
		found = append(found, Cause{
			causeLogon + string(p.logonSays), p.subject.User + ": " + p.logonWhy,
			"log in as " + p.subject.User + " with a key and see what sshd's log says",
		})
	}
	return found
}

// chroot is the folder that a session of the user is locked into, "" for none.
func (p *prover) chroot() string {
	if p.configErr != nil || p.configs[loopbackLogon].Get("chrootdirectory") == "none" {
		return ""
	}
	return strings.Join(p.configs[loopbackLogon]["chrootdirectory"], " ")
}

// configCause is a candidate that sshd -T could not be asked about. Only what
// sshd itself refuses is the configuration's fault.
func (p *prover) configCause() Cause {
	var command *CommandError
	if errors.As(p.configErr, &command) && command.Refused() {
		return Cause{causeConfig, p.configErr.Error(), "make \"sshd -t\" pass, then run \"latchkey apply\""}
	}
	return Cause{"sshd-not-asked", p.configErr.Error(), "run \"latchkey apply\" to ask again"}
}
