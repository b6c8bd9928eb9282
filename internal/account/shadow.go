package account

import (
	"strings"
	"time"
)

// Shadow is what shadow(5) says about an account apart from the password.
type Shadow struct {
	// Locked: the password field begins with "!". An sshd without PAM then
	// refuses every login; one with PAM only the password. "*" is not locked.
	Locked bool
	// HasPassword: the field holds something a password could match.
	HasPassword bool

	// In days since 1970, or numbers of days; none where the field is empty.
	lastChange, maxAge, inactive, expires int64
}

const day = 24 * time.Hour

// none is what glibc makes of an empty field, and pam_unix of "no limit".
const none = -1

func newShadow(password string) *Shadow {
	return &Shadow{
		Locked:      strings.HasPrefix(password, "!"),
		HasPassword: password != "" && !strings.ContainsRune("!*", rune(password[0])),
		lastChange:  none,
		maxAge:      none,
		inactive:    none,
		expires:     none,
	}
}

// Expires returns the start of the day (UTC) from which the account is
// expired, and whether there is such a day.
func (s Shadow) Expires() (time.Time, bool) {
	return time.Unix(s.expires*int64(day/time.Second), 0).UTC(), s.expires != none
}

// Expired reports whether the account has expired. The day itself counts, as
// for pam_unix; an sshd without PAM grants one day more.
func (s Shadow) Expired(now time.Time) bool {
	return s.expires != none && daysAt(now) >= s.expires
}

// MustChange reports whether the password has to be changed before anything
// else: it was last changed on day 0, which asks for that, or is too old. PAM
// then lets a login with a key in, but runs no command for it.
func (s Shadow) MustChange(now time.Time) bool {
	return s.lastChange == 0 || s.tooOld(now, s.maxAge)
}

// Lapsed reports whether the password was not changed within the days of grace
// that follow its maximum age. PAM then refuses every login.
func (s Shadow) Lapsed(now time.Time) bool {
	return s.lastChange != 0 && s.inactive != none && s.maxAge != none &&
		s.tooOld(now, max(s.maxAge, s.inactive, s.maxAge+s.inactive))
}

func (s Shadow) tooOld(now time.Time, age int64) bool {
	return age != none && s.lastChange >= 0 && daysAt(now)-s.lastChange > age
}

func daysAt(now time.Time) int64 { return now.Unix() / int64(day/time.Second) }
