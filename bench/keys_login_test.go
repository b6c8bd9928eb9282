package bench

import (
	"fmt"
	"testing"
	"time"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// keysLogin is a user of one sshd, whose key it finds in a way of its own. The user is
// named after it.
type keysLogin struct {
	user   string
	config string // in the user's Match block
	took   []time.Duration
}

// The ways to the key: authorized_keys files, or a command, of a line or of a million.
const (
	loginFile  = "file-1"
	loginIndex = "index-1m" // ours
	loginCat   = "cat-1"    // what any command costs
	loginFlat  = "file-1m"
)

// keysLoginWindow is how long they log in, in turn.
const keysLoginWindow = 15 * time.Second

// BenchmarkKeysLogin is a whole `ssh … true` at a real sshd, as Debian configures it, with the client's own choice of
// algorithms.
func BenchmarkKeysLogin(b *testing.B) {
	m, key, all := startKeysLogins(b)
	for b.Loop() {
		all[len(all)-1].login(b, m, key) // seconds, so once
		often := all[:len(all)-1]
		start := time.Now()
		for i := 0; time.Since(start) < keysLoginWindow; i++ {
			for j := range often {
				often[(i+j)%len(often)].login(b, m, key)
			}
		}
	}
	p50 := map[string]time.Duration{}
	for _, l := range all {
		p50[l.user] = percentile(l.took, 50)
		b.ReportMetric(milliseconds(p50[l.user]), "ms-p50/"+l.user)
	}
	b.ReportMetric(float64(p50[loginIndex])/float64(p50[loginFile]), loginIndex+"/"+loginFile)
	b.ReportMetric(1.05, "goal-"+loginIndex+"/"+loginFile)
	b.Log("limit: the client's own start and key exchange; of a command, sshd's fork and exec, twice")
}

// startKeysLogins starts one sshd for all of them.
func startKeysLogins(b *testing.B) (*testmachine.Machine, testmachine.Key, []*keysLogin) {
	b.Helper()
	file := "AuthorizedKeysFile /etc/ssh/authorized_keys/%u"
	command := func(words string) string {
		return "AuthorizedKeysFile none\n\tAuthorizedKeysCommandUser latchkey-keys\n\tAuthorizedKeysCommand " + words
	}
	all := []*keysLogin{
		{user: loginFile, config: file},
		{user: loginIndex, config: command(helperPath + " " + keysUser + " %U %h %t %k")},
		{user: loginCat, config: command("/bin/cat /etc/ssh/authorized_keys/" + loginFile)},
		{user: loginFlat, config: file},
	}
	m := newKeysMachine(b, buildProgram(b, "../cmd/latchkey-authorized-keys"), buildProgram(b, "./testdata/reader"))
	m.Run(b, "useradd", "--system", "--user-group", "--shell", "/usr/sbin/nologin", "latchkey-keys")
	config := testmachine.DefaultSSHDConfig
	for _, l := range all {
		m.AddUser(l.user, "a password")
		config += fmt.Sprintf("Match User %s\n\t%s\n", l.user, l.config)
	}
	key := testmachine.NewKey(b, "ed25519")
	m.WriteFile("/etc/ssh/authorized_keys/"+loginFile, key.Line+"\n", 0o644)
	writeLines(b, m.Path("/etc/ssh/authorized_keys/"+loginFlat), 0, million-1, key.Line)
	mountMillion(b, m, key.Line)
	m.SSHDConfig(config)
	m.StartSSHD()
	return m, key, all
}

func (l *keysLogin) login(b *testing.B, m *testmachine.Machine, key testmachine.Key) {
	b.Helper()
	cmd := m.OpenSSH(b, l.user, []string{"-i", key.PEM}, "true")
	start := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("ssh as %s: %v\n%s", l.user, err, out)
	}
	l.took = append(l.took, time.Since(start))
}
