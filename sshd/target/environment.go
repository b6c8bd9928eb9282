package target

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"

	"github.com/latchkey-ssh/latchkey/sshd"
)

// variables are an environment: NAME=value, each name once.
type variables []string

// set adds a variable, or changes the one that is there.
func (v *variables) set(name, value string) {
	variable := name + "=" + value
	i := slices.IndexFunc(*v, func(other string) bool { return strings.HasPrefix(other, name+"=") })
	if i >= 0 {
		(*v)[i] = variable
		return
	}
	*v = append(*v, variable)
}

// What a client may set. sshd takes as many variables, but has no limit for their size.
const (
	maxVariables     = 128
	maxVariableBytes = 64 << 10 // of names and values together
)

func (s *sessionChannel) answerEnv(payload []byte) (string, error) {
	var asked struct{ Name, Value string }
	if err := unmarshal(payload, &asked); err != nil {
		return "", err
	}
	name := asked.Name[:min(len(asked.Name), 64)]
	switch {
	case asked.Name == "" || strings.ContainsAny(asked.Name, "=\x00") || strings.ContainsRune(asked.Value, 0):
		return name, errors.New("not a variable")
	case !s.login.policy.acceptsVariable(asked.Name):
		return name, errors.New("not listed in AcceptEnv")
	case len(s.env) >= maxVariables:
		return name, fmt.Errorf("more than %d variables", maxVariables)
	case s.env.size()+len(asked.Name)+len(asked.Value) > maxVariableBytes:
		return name, fmt.Errorf("more than %d bytes of variables", maxVariableBytes)
	}
	s.env.set(asked.Name, asked.Value)
	return name, nil
}

func (v variables) size() (bytes int) {
	for _, variable := range v {
		bytes += len(variable)
	}
	return bytes
}

// acceptsVariable asks AcceptEnv, whose patterns are no lists and know no negation.
func (p *policy) acceptsVariable(name string) bool {
	return slices.ContainsFunc(p.args("acceptenv"), func(pattern string) bool {
		return sshd.MatchesPattern(name, pattern)
	})
}

// environment is the program's: from several sources, of which a later one wins, in sshd's order (sshd(8), LOGIN PROCESS).
func (s *sessionChannel) environment() []string {
	v := slices.Clone(s.env)
	v.set("USER", s.session.User)
	v.set("LOGNAME", s.session.User)
	v.set("HOME", s.session.homeFolder())
	v.set("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin")
	v.set("MAIL", "/var/mail/"+s.session.User)
	v.set("SHELL", s.session.Shell)
	s.addUserVariables(&v)
	for _, variable := range s.login.policy.args("setenv") {
		if name, value, ok := strings.Cut(variable, "="); ok {
			v.set(name, value)
		}
	}
	s.addConnection(&v)
	if s.session.PTY != nil && s.session.PTY.Term != "" {
		v.set("TERM", s.session.PTY.Term)
	}
	if s.session.Forced && s.session.Request != "shell" {
		v.set("SSH_ORIGINAL_COMMAND", s.session.Original)
	}
	if s.session.Agent != "" {
		v.set("SSH_AUTH_SOCK", s.session.Agent)
	}
	return v
}

// addUserVariables adds what the user has chosen: environment= of the key's line, then ~/.ssh/environment.
func (s *sessionChannel) addUserVariables(v *variables) {
	var own []string
	for _, line := range s.login.proof.lines {
		own = append(own, line.Environment...)
	}
	own = append(own, s.login.policy.environmentFile()...)
	for _, variable := range own {
		name, value, ok := strings.Cut(variable, "=")
		if ok && s.login.policy.permitsUserVariable(name) {
			v.set(name, value)
		}
	}
}

// permitsUserVariable asks PermitUserEnvironment: yes, no, or a list of patterns.
func (p *policy) permitsUserVariable(name string) bool {
	switch list := p.value("permituserenvironment"); strings.ToLower(list) {
	case "yes":
		return true
	case "no":
		return false
	default:
		return sshd.MatchesList(name, list)
	}
}

// environmentFile are the variables of ~/.ssh/environment. It is not read where none of them would count.
func (p *policy) environmentFile() []string {
	if p.home == "" || strings.EqualFold(p.value("permituserenvironment"), "no") {
		return nil
	}
	text, err := readRegular(filepath.Join(p.home, ".ssh", "environment"), maxKeysFile)
	if err != nil {
		return nil
	}
	var found []string
	for line := range strings.SplitSeq(string(text), "\n") {
		line = strings.TrimLeft(line, " \t")
		if line != "" && line[0] != '#' && !strings.ContainsRune(line, 0) {
			found = append(found, line)
		}
	}
	return found
}

func (s *sessionChannel) addConnection(v *variables) {
	remote, local := s.session.Remote, s.session.Local
	v.set("SSH_CLIENT", fmt.Sprintf("%s %d %d", host(remote), port(remote), port(local)))
	v.set("SSH_CONNECTION", fmt.Sprintf("%s %d %s %d", host(remote), port(remote), host(local), port(local)))
}

// homeFolder is the account's, else that of whoever runs the server.
func (s *Session) homeFolder() string {
	if s.Home != "" {
		return s.Home
	}
	if home, err := os.UserHomeDir(); err == nil {
		return home
	}
	if me, err := user.Current(); err == nil && me.HomeDir != "" {
		return me.HomeDir
	}
	return "/"
}

// shell is the account's, outside of the root: commands run on the machine that the server runs on.
func (p *policy) shell() string {
	if p.who.Shell != "" {
		return p.who.Shell
	}
	return "/bin/sh"
}
