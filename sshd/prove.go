package sshd

import (
	"cmp"
	"context"
	"sync"
)

// Subject is what a proof is about: who is to log in, with which keys, and
// where sshd is to find each of them: in a file, from a command, or both.
type Subject struct {
	User     string
	UID      int
	Groups   []string // names of the user's groups, as far as they are known
	Home     string
	Keys     []PublicKey
	KeysFile string // path below Root, as sshd names it; "": not by file
	Command  KeysCommand
}

// keyQuestion is question (a) about one key, under one configuration.
type keyQuestion struct {
	config string
	key    PublicKey
}

// keyQuestions are about each key in each place that it is to be found in.
func (s Subject) keyQuestions(c *Candidate) []keyQuestion {
	var configs []string
	byCommand := s.Command != (KeysCommand{}) && c.Command != ""
	if s.KeysFile != "" || !byCommand {
		configs = append(configs, cmp.Or(c.File, c.Config))
	}
	if byCommand {
		configs = append(configs, c.Command)
	}
	var questions []keyQuestion
	for _, config := range configs {
		for _, key := range s.Keys {
			questions = append(questions, keyQuestion{config, key})
		}
	}
	return questions
}

// Proof is what a real sshd said of a configuration.
type Proof struct {
	Key      Verdict  // question (a): would it take every key? The worst answer counts
	Logon    Verdict  // question (c): does a whole logon go through?
	Methods  []string // what it offers besides
	Password Verdict  // Accepted: a password method is still offered, or effective from some address; Refused: none is
	Causes   []Cause  // why not, as far as sshd, its configuration and its log tell
	HostKey  []byte   // blob of the instance's host key
	Version  string   // sshd's identification
}

// KeyWorks tells whether nothing is left to doubt: the key is accepted, the
// account logs in, and no cause against it was found.
func (p *Proof) KeyWorks() bool {
	return p.Key == Accepted && p.Logon == Accepted && len(p.Causes) == 0
}

// Closes tells whether the key works and passwords do not.
func (p *Proof) Closes() bool { return p.KeyWorks() && p.Password == Refused }

// Undecided tells whether nothing speaks against the key, and nothing proves
// it either: the questions could not be asked.
func (p *Proof) Undecided() bool {
	return p.Key != Refused && p.Logon != Refused && (p.Key == Unknown || p.Logon == Unknown || p.Password == Unknown)
}

// Prove asks the three questions of a candidate. They are independent, so they
// are asked at the same time.
func (d *Daemon) Prove(ctx context.Context, c *Candidate, s Subject) *Proof {
	questions := s.keyQuestions(c)
	p := &prover{
		daemon: d, candidate: c, subject: s, questions: questions,
		answers: make([]Answer, len(questions)), logs: make([][]string, len(questions)+1),
	}
	var group sync.WaitGroup
	for i := range questions {
		group.Go(func() { p.query(ctx, i) })
	}
	group.Go(func() { p.logon(ctx) })
	group.Go(func() { p.effective(ctx) })
	group.Go(func() { p.withoutOurs(ctx) })
	group.Wait()
	p.configErr = cmp.Or(p.configErr, p.bareErr)
	return p.proof()
}

// prover gathers the answers, each in a place of its own.
type prover struct {
	daemon    *Daemon
	candidate *Candidate
	subject   Subject
	questions []keyQuestion
	answers   []Answer   // to each of them
	logs      [][]string // sshd's own account of each conversation, the logon's last
	logonSays Verdict
	logonWhy  string
	configs   []Config // from loopback, from outside
	configErr error
	bare      []Config // the same without our lines, where they have a keys command
	bareErr   error
}

func (p *prover) query(ctx context.Context, i int) {
	q := p.questions[i]
	p.answers[i], p.logs[i] = p.daemon.QueryInetd(ctx, q.config, p.subject.User, &q.key)
}

func (p *prover) logon(ctx context.Context) {
	p.logonSays, p.logonWhy, p.logs[len(p.logs)-1] = p.daemon.LogonInetd(ctx, p.candidate.Logon, p.subject.User, p.candidate.Key)
}

func (p *prover) effective(ctx context.Context) {
	p.configs, p.configErr = p.daemon.BothEffective(ctx, p.candidate.Config, p.subject.User)
}

// BothEffective is the effective configuration of user's logon from loopback
// and from outside, question (b).
func (d *Daemon) BothEffective(ctx context.Context, config, user string) ([]Config, error) {
	port := d.configuredPort(config)
	connections := []Connection{FromLoopback(user, port), FromOutside(user, port)}
	configs := make([]Config, len(connections))
	errs := make([]error, len(connections))
	var group sync.WaitGroup
	for i, conn := range connections {
		group.Go(func() { configs[i], errs[i] = d.Effective(ctx, config, conn) })
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return configs, nil
}

// proof weighs the answers.
func (p *prover) proof() *Proof {
	proof := &Proof{Key: p.worstKey(), Logon: p.logonSays, Password: p.password()}
	if len(p.answers) > 0 {
		proof.Methods, proof.HostKey, proof.Version = p.answers[0].Methods, p.answers[0].HostKey, p.answers[0].Version
	}
	proof.Causes = p.causes()
	return proof
}

// worstKey is Accepted only when every key is.
func (p *prover) worstKey() Verdict {
	verdict := Accepted
	for _, a := range p.answers {
		switch a.Key {
		case Refused:
			return Refused
		case Unknown:
			verdict = Unknown
		}
	}
	if len(p.answers) == 0 {
		return Unknown
	}
	return verdict
}

// password is Refused only when both the configuration and the server itself
// say that no password is asked for.
func (p *prover) password() Verdict {
	if p.configErr != nil || len(p.answers) == 0 {
		return Unknown
	}
	for _, config := range p.configs {
		if config.AllowsPassword() {
			return Accepted
		}
	}
	for _, a := range p.answers {
		if a.OffersPassword() {
			return Accepted
		}
		if a.Methods == nil {
			return Unknown
		}
	}
	return Refused
}
