package operator

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"os"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/latchkey-ssh/latchkey/agent"
	"github.com/latchkey-ssh/latchkey/authkeys"
	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/authkeys/indexer"
	"github.com/latchkey-ssh/latchkey/cmd/internal/cli"
	"github.com/latchkey-ssh/latchkey/internal/account"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// checkCommand checks what sshd does for the keys of a user: that it asks the helper, in words
// to which that answers with a line that an index has.
func (t *tool) checkCommand(ctx context.Context, user string, effective sshd.Config) agent.Check {
	line, entry := t.firstLine(ctx, user)
	if entry == nil {
		return sshdCheck(agent.Fail, "build it with a line of theirs: latchkey keys build", "no index has a line of %s", user)
	}
	fail := func(format string, args ...any) agent.Check {
		return sshdCheck(agent.Fail, t.commandLines(), format, args...)
	}
	command := strings.Join(effective["authorizedkeyscommand"], "")
	if command == "" || command == "none" {
		return fail("sshd asks no program for the keys of %s: no index counts", user)
	}
	words, err := sshd.KeysCommand{Command: command}.Words(t.tokens(user, entry))
	if err != nil {
		return fail("sshd asks %q for %s: %v", command, user, err)
	}
	if check := t.checkAskedProgram(user, words[0]); check.Result != agent.Pass {
		return check
	}
	as := strings.Join(effective["authorizedkeyscommanduser"], "")
	if as == "" || as == "none" {
		return fail("sshd has no AuthorizedKeysCommandUser for %s: it takes no key of %[1]s from the program", user)
	}
	runAs, err := account.Lookup(t.instance.Root, strings.ReplaceAll(as, "%u", user))
	if err != nil {
		return fail("AuthorizedKeysCommandUser of %s: %v", user, err)
	}
	printed, err := t.answer(ctx, withoutChain(words), runAs)
	return t.checkAnswer(answer{user, command, words, line, entry, printed, err})
}

// firstLine is the first line of a user in the indexes that the helper looks in, without an
// entry if there is none. What is wrong with an index is told elsewhere.
func (t *tool) firstLine(ctx context.Context, user string) (line string, entry *authkeys.Entry) {
	found := errors.New("found")
	for _, name := range []string{index.Users, index.Bound} {
		_ = indexer.Lines(ctx, t.below(name), user, func(first string) error {
			line = first
			return found
		})
		if keys := authkeys.Parse([]byte(line)).Keys(); len(keys) == 1 {
			return line, keys[0]
		}
	}
	return "", nil
}

// tokens are what sshd puts in the place of its tokens when a client offers the key of an
// entry, or where that is an authority's, a certificate.
func (t *tool) tokens(user string, entry *authkeys.Entry) map[byte]string {
	who, err := account.Lookup(t.instance.Root, user)
	if err != nil { // a directory server may have the account: the helper makes no use of these
		who = account.Account{UID: 65534, Home: "/"}
	}
	keyType := entry.Type
	if entry.Options.CertAuthority {
		keyType = strings.TrimSuffix(keyType, "@openssh.com") + "-cert-v01@openssh.com"
	}
	return map[byte]string{
		'u': user, 'U': strconv.Itoa(who.UID), 'h': who.Home,
		't': keyType, 'k': base64.StdEncoding.EncodeToString(entry.Blob), 'f': entry.Fingerprint(),
		'C': "192.0.2.1 1024 192.0.2.2 22", 'D': "",
	}
}

// checkAskedProgram checks the program that sshd asks for the keys of a user.
func (t *tool) checkAskedProgram(user, program string) agent.Check {
	if path.Base(program) != helperName {
		return sshdCheck(agent.Fail, t.commandLines()+"; or have that program ask it", "sshd asks %s for the keys of %s, not %s", program, user, helperName)
	}
	found := t.checkProgram(t.below(program))
	if len(found) == 0 {
		return sshdCheck(agent.Fail, t.commandLines(), "sshd asks %s for the keys of %s, which is not there", program, user)
	}
	return found[0]
}

// withoutChain is without the administrator's own command, which is not ours to run. The "--"
// stays where nothing follows it.
func withoutChain(words []string) []string {
	if i := slices.Index(words, "--"); i >= 0 && i+1 < len(words) {
		return words[:i]
	}
	return words
}

// answerTime bounds how long the helper is waited for; it gives up before that itself.
const answerTime = 10 * time.Second

// answer is what the helper prints when it is run as sshd runs it.
func (t *tool) answer(ctx context.Context, words []string, as account.Account) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Env = []string{"PATH=/usr/bin:/bin:/usr/sbin:/sbin", "USER=" + as.Name, "LOGNAME=" + as.Name, "HOME=" + as.Home}
	cmd.Dir = "/"
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if t.instance.Root != "/" {
		cmd.SysProcAttr.Chroot = t.instance.Root
	}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(as.UID), Gid: uint32(as.GID)}
		for _, group := range as.Groups {
			cmd.SysProcAttr.Credential.Groups = append(cmd.SysProcAttr.Credential.Groups, uint32(group))
		}
	}
	return cmd.Output()
}

// An answer is what the helper printed for a key of a user.
type answer struct {
	user, command string
	words         []string
	line          string // that the index has
	entry         *authkeys.Entry
	printed       []byte
	err           error
}

func (t *tool) checkAnswer(a answer) agent.Check {
	fail := func(why string) agent.Check {
		return sshdCheck(agent.Fail, t.commandLines(), "sshd asks %q for %s%s", a.command, a.user, why)
	}
	exit, ended := errors.AsType[*exec.ExitError](a.err)
	key := base64.StdEncoding.EncodeToString(a.entry.Blob)
	switch {
	case ended:
		return fail(": " + whyItEnded(exit))
	case a.err != nil && os.Geteuid() != 0:
		return sshdCheck(agent.Unsure, asRootOr(""), "what %s answers for %s: %v", helperName, a.user, a.err)
	case a.err != nil:
		return fail(": " + a.err.Error())
	case !slices.ContainsFunc(bytes.Split(a.printed, []byte("\n")), func(line []byte) bool { return string(line) == a.line }):
		return fail(", which does not answer with the line that the index has")
	case !slices.Contains(a.words, key):
		return sshdCheck(agent.Pass, t.commandLines(), "all their lines for each key")
	}
	return sshdCheck(agent.Pass, "", "")
}

// whyItEnded is the last that the helper said, or how it ended.
func whyItEnded(exit *exec.ExitError) string {
	lines := strings.Split(strings.TrimSpace(string(exit.Stderr)), "\n")
	said := strings.TrimPrefix(lines[len(lines)-1], helperName+": ")
	return cli.Plain(orNone(said, exit.Error()))
}
