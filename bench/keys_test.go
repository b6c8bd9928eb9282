package bench

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// The programs that are compared, each answering for one user. Those of latchkey are
// asked as sshd asks, with one key bound and nothing else, and with a million in the
// administrator's index.
const (
	helperOne     = "latchkey-1"
	helperMillion = "latchkey-1M"
	helperCold    = "latchkey-1M-cold"
	bareReader    = "go-reader"
	catFile       = "cat"
	userdbAlone   = "userdbctl"
	userdbDaemon  = "userdbctl+userdbd"
	googleHelper  = "google_authorized_keys"
)

// answer is a program that prints a line for a key.
type answer struct {
	name string
	root string // of the machine it runs in
	// next is the command to run next, and the line it has to print.
	next   func() (argv []string, line string)
	slow   bool
	before func() error // what would disturb the others: is asked after them
	took   []time.Duration
	peakKB int
}

const (
	answerWindow = 12 * time.Second
	fastRounds   = 4
	lateRounds   = 20
)

// BenchmarkKeysHelper is how long sshd waits for the line of one key: from before the
// fork to the end of the process, its output read through a pipe; and the peak memory.
func BenchmarkKeysHelper(b *testing.B) {
	l, all := startAnswers(b)
	for b.Loop() {
		for start := time.Now(); time.Since(start) < answerWindow; {
			askRound(b, l, all)
		}
		for range lateRounds {
			for _, a := range all {
				if a.before != nil {
					a.took = append(a.took, a.ask(b, l.run).took)
				}
				a.peakKB = max(a.peakKB, a.ask(b, l.runFresh).peakKB)
			}
		}
	}
	reportAnswers(b, all)
}

// askRound asks each in turn, the fast ones more often: what is compared within a few
// per cent needs more samples.
func askRound(b *testing.B, l *launcher, all []*answer) {
	b.Helper()
	for i := range fastRounds {
		for j := range all {
			a := all[(i+j)%len(all)] // each after each of the others
			if a.before == nil && (i == 0 || !a.slow) {
				a.took = append(a.took, a.ask(b, l.run).took)
			}
		}
	}
}

// startAnswers starts what the programs need, and returns those that are here.
func startAnswers(b *testing.B) (l *launcher, all []*answer) {
	b.Helper()
	helper, reader := buildProgram(b, "../cmd/latchkey-authorized-keys"), buildProgram(b, "./testdata/reader")
	program := buildProgram(b, "./testdata/launcher")
	line := ed25519Line(0)
	one, other := newKeysMachine(b, helper, reader), newKeysMachine(b, helper, reader)
	all = append(oneKeyAnswers(b, one, line), millionAnswers(b, other)...)
	if here(b, userdbctl) {
		all = append(all, userdbAnswers(b, one, other, line)...)
	}
	err := ownNetwork(metadataAddress, func() (err error) {
		if l, err = startLauncher(b, program); err == nil && here(b, oslogin) {
			all = append(all, &answer{name: googleHelper, root: one.Root, slow: true, next: always(line, oslogin, keysUser)})
			err = startOSLogin(b, line)
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return l, all
}

// always is the same command each time.
func always(line string, argv ...string) func() ([]string, string) {
	return func() ([]string, string) { return argv, line }
}

// asked is the helper's command for the n-th key.
func asked(n int) ([]string, string) {
	return []string{helperPath, keysUser, "998", "/srv/git", "ssh-ed25519", ed25519Blob(n)}, ed25519Line(n)
}

func oneKeyAnswers(b *testing.B, m *testmachine.Machine, line string) []*answer {
	b.Helper()
	m.WriteFile(oneLinePath, line+"\n", 0o644)
	publish(b, m, keysUser, line)
	return []*answer{
		{name: catFile, root: m.Root, next: always(line, "/bin/cat", oneLinePath)},
		{name: bareReader, root: m.Root, next: always(line, readerPath, oneLinePath)},
		{name: helperOne, root: m.Root, next: func() ([]string, string) { return asked(0) }},
	}
}

// millionAnswers are for another key each time, from a fixed seed.
func millionAnswers(b *testing.B, m *testmachine.Machine) []*answer {
	b.Helper()
	file := mountMillion(b, m)
	random := rand.New(rand.NewPCG(1, 2))
	next := func() ([]string, string) { return asked(random.IntN(million)) }
	return []*answer{
		{name: helperMillion, root: m.Root, next: next},
		{name: helperCold, root: m.Root, next: next, before: func() error { return evict(file) }},
	}
}

// userdbAnswers are userdbctl's, on a machine without systemd-userdbd and on one with it.
func userdbAnswers(b *testing.B, without, with *testmachine.Machine, line string) []*answer {
	b.Helper()
	recordUser(without, line)
	recordUser(with, line)
	startUserdbd(b, with)
	next := always(line, userdbctl, "ssh-authorized-keys", keysUser)
	return []*answer{
		{name: userdbAlone, root: without.Root, slow: true, next: next},
		{name: userdbDaemon, root: with.Root, slow: true, next: next},
	}
}

// ask runs it once more, with one of the launcher's ways to do so.
func (a *answer) ask(b *testing.B, launch func(root string, argv []string) (run, error)) run {
	b.Helper()
	if a.before != nil {
		if err := a.before(); err != nil {
			b.Fatal(err)
		}
	}
	argv, line := a.next()
	r, err := launch(a.root, argv)
	if err != nil {
		b.Fatalf("%s: %v", a.name, err)
	}
	if strings.TrimRight(r.out, "\n") != line {
		b.Fatalf("%s printed %q, want %q", a.name, r.out, line)
	}
	return r
}

func reportAnswers(b *testing.B, all []*answer) {
	b.Helper()
	p50 := map[string]time.Duration{}
	for _, a := range all {
		p50[a.name] = percentile(a.took, 50)
		b.ReportMetric(milliseconds(p50[a.name]), "ms-p50/"+a.name)
		b.ReportMetric(float64(a.peakKB)/1000, "MB-peak-RSS/"+a.name)
	}
	b.ReportMetric(3, "goal-MB-peak-RSS/"+helperMillion)
	against := func(helper, peer string, goal float64) {
		if p50[peer] > 0 { // it is here
			b.ReportMetric(float64(p50[helper])/float64(p50[peer]), helper+"/"+peer)
			b.ReportMetric(goal, "goal-"+helper+"/"+peer)
		}
	}
	against(helperOne, bareReader, 1.25)
	against(helperMillion, helperOne, 1.1)
	against(helperMillion, userdbAlone, 0.5)
	against(helperMillion, userdbDaemon, 0.5)
	b.Log("limit: fork, exec and the start of the Go runtime, which are all of the bare reader's time; what the launcher has itself, some 1.7 MB, is the least peak RSS that it sees")
}
