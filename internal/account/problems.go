package account

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"
)

// Cause names a kind of [Problem] for programs.
type Cause string

// The causes. They appear in --json output and do not change.
const (
	AccountExpired     Cause = "account-expired"
	PasswordMustChange Cause = "password-must-change"
	PasswordLapsed     Cause = "password-lapsed"
	ShellMissing       Cause = "shell-missing"
	ShellNotExecutable Cause = "shell-not-executable"
	ShellRefuses       Cause = "shell-refuses"
	NologinFile        Cause = "nologin-file"
	HomeMissing        Cause = "home-missing"
)

// Problem is a fact about an account that keeps a login from working, whatever
// key or password is presented.
type Problem struct {
	Cause Cause
	// Detail is a sentence for a person, without a full stop.
	Detail string
	// Remedy is a command that root can type on the instance.
	Remedy string
}

// Problems lists what keeps the account from logging in at that time,
// according to the files below root. What shadow(5) would say is left out when
// it could not be read, and PAM modules may know of more: an empty list is no
// proof that a login works.
func (a Account) Problems(root string, now time.Time) []Problem {
	var all []Problem
	all = append(all, a.shadowProblems(now)...)
	all = append(all, a.shellProblems(root)...)
	all = append(all, a.nologinProblems(root)...)
	return append(all, a.homeProblems(root)...)
}

func (a Account) shadowProblems(now time.Time) []Problem {
	var all []Problem
	if a.Shadow == nil {
		return nil
	}
	if a.Shadow.Expired(now) {
		date, _ := a.Shadow.Expires()
		all = append(all, Problem{
			AccountExpired,
			fmt.Sprintf("the account %s expired on %s", a.Name, date.Format(time.DateOnly)),
			"chage --expiredate -1 " + a.Name,
		})
	}
	changedToday := `chage --lastday "$(date +%F)" ` + a.Name
	switch {
	case a.Shadow.Lapsed(now):
		all = append(all, Problem{
			PasswordLapsed,
			fmt.Sprintf("the password of %s was not changed in time, and the days of grace are over", a.Name),
			changedToday,
		})
	case a.Shadow.MustChange(now):
		all = append(all, Problem{
			PasswordMustChange,
			fmt.Sprintf("the password of %s must be changed before anything else", a.Name),
			changedToday,
		})
	}
	return all
}

func (a Account) shellProblems(root string) []Problem {
	if problem := a.ShellProblem(root); problem != nil {
		return []Problem{*problem}
	}
	if refusesLogins(a.Shell) {
		return []Problem{a.shellProblem(ShellRefuses, "%s, ends every session at once", a.Shell)}
	}
	return nil
}

// ShellProblem is why sshd refuses the account for its shell, nil where it does not. It asks what sshd asks: a regular file with
// anybody's execute bit. A relative path is one from the root, where sshd stands.
func (a Account) ShellProblem(root string) *Problem {
	info, err := stat(root, path.Join("/", a.Shell))
	var problem Problem
	switch {
	case errors.Is(err, fs.ErrNotExist):
		problem = a.shellProblem(ShellMissing, "%s, is not there", a.Shell)
	case err != nil:
		problem = a.shellProblem(ShellMissing, "%s: %v", a.Shell, err)
	case !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0:
		problem = a.shellProblem(ShellNotExecutable, "%s, cannot be executed", a.Shell)
	default:
		return nil
	}
	return &problem
}

func (a Account) shellProblem(cause Cause, format string, args ...any) Problem {
	detail := "the shell of " + a.Name + ", " + fmt.Sprintf(format, args...)
	return Problem{cause, detail, "usermod --shell " + defaultShell + " " + a.Name}
}

func refusesLogins(shell string) bool {
	name := path.Base(shell)
	return name == "nologin" || name == "false"
}

// nologinProblems knows the file that sshd looks for and the one that systemd
// writes while it starts or stops, which pam_nologin looks for too.
func (a Account) nologinProblems(root string) []Problem {
	if a.UID == 0 {
		return nil
	}
	var all []Problem
	for _, file := range []string{"/etc/nologin", "/run/nologin"} {
		if _, err := stat(root, file); err == nil {
			all = append(all, Problem{NologinFile, file + " keeps everyone but root out", "rm " + file})
		}
	}
	return all
}

func (a Account) homeProblems(root string) []Problem {
	info, err := stat(root, a.Home)
	if err == nil && info.IsDir() {
		return nil
	}
	detail := fmt.Sprintf("the home of %s, %s, is not there", a.Name, a.Home)
	switch {
	case a.Home == "":
		return []Problem{{
			HomeMissing, fmt.Sprintf("the account %s has no home", a.Name),
			fmt.Sprintf("usermod --home /home/%s --move-home %s", a.Name, a.Name),
		}}
	case err == nil:
		detail = fmt.Sprintf("the home of %s, %s, is not a folder", a.Name, a.Home)
	case !errors.Is(err, fs.ErrNotExist):
		detail = fmt.Sprintf("the home of %s, %s: %v", a.Name, a.Home, err)
	}
	remedy := fmt.Sprintf("install -d -m 0700 -o %d -g %d %s", a.UID, a.GID, quote(a.Home))
	return []Problem{{HomeMissing, detail, remedy}}
}

// quote makes one word of a POSIX shell of it.
func quote(word string) string {
	if word != "" && onlyASCII(word, "_./@%+=:,-") {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
