package sshdtest

import (
	"fmt"
	"strings"
	"testing"
)

// TestLinesMeanFromTheIndexWhatTheyMeanFromAFile: what is a line, which of several counts,
// and what sshd reads as a key.
func TestLinesMeanFromTheIndexWhatTheyMeanFromAFile(t *testing.T) {
	t.Parallel()
	meansTheSame(t, "ed25519", plain, []row{
		{"the first expired", "expiry-time=\"20200101\" KEY\ncommand=\"echo second\" KEY", "second"},
		{"the first for others", "from=\"10.0.0.1\" KEY\nKEY", in},
		{"the first broken", "no-such-option KEY\nno-pty KEY", "in -pty"},
		{"the first an authority", "cert-authority KEY\nno-pty KEY", "in -pty"},
		{"the first for principals", "principals=\"bob\" KEY\nKEY", in},
		{"two that accept", "command=\"echo first\" KEY\nKEY", "first"},
		{"two that accept, the plain one first", "KEY\ncommand=\"echo second\" KEY", in},
		{"all refuse", "expiry-time=\"20200101\" KEY\nfrom=\"10.0.0.1\" KEY\ncert-authority KEY", refused},
		{"lines of one key and another in turn", "OTHER\nno-pty KEY\nOTHER\nKEY", "in -pty"},

		{"carriage returns", "OTHER\r\nKEY\r", in},
		{"carriage return after a comment", "no-pty KEY me\r", "in -pty"},
		{"carriage return alone", "OTHER\rKEY", refused},
		{"carriage return within the blob", "TYPE BLOB1\rBLOB2", in},
		{"vertical tab within the blob", "TYPE BLOB1\vBLOB2", in},
		{"blank within the blob", "TYPE BLOB1 BLOB2", refused},
		{"blanks before", " \t no-pty KEY", "in -pty"},
		{"blanks between", "no-pty \t  TYPE\t \tBLOB", "in -pty"},
		{"vertical tab before", "\vKEY", refused},
		{"byte order mark", "\ufeffKEY", refused},
		{"byte order mark before a comment", "\ufeff# note\nKEY", in},
		{"commented out", "#KEY", refused},
		{"comment of options", `KEY no-pty from="10.0.0.1"`, in},
		{"comment with a quote", `KEY "me`, in},
		{"comment with a number sign", "KEY # me", in},
		{"comment of UTF-8", "KEY żółć", in},
		{"comment of bytes that are none", "KEY \xff\xfe", in},
		{"comment with NUL", "KEY me\x00you", in},
		{"comment joined to the key", "KEY#me", refused},
		{"NUL before the key", "\x00KEY", refused},
		{"NUL between options and key", "no-pty\x00 KEY", refused},
		{"NUL in the options", "no-p\x00ty KEY", refused},
		{"NUL after the blob", "KEY\x00", in},
		{"NUL in the command", "command=\"echo \x00forced\" KEY", refused},
		{"NUL on a line of its own", "\x00\nKEY", in},
		{"garbage around", "garbage\nssh-ed25519 AAAA\n1024 35 1234 me\nKEY\n\xff\xfe", in},
		{"quote that does not end before", "command=\"\nKEY", in},
		{"no continuation", "no-pty \\\nKEY", in},

		{"type in capitals", "SSH-ED25519 BLOB", refused},
		{"short type", "ed25519 BLOB", refused},
		{"another type", "ssh-rsa BLOB", refused},
		{"no type", "BLOB", refused},
		{"padding too much", "KEY=", refused},
		{"cut short", "TYPE BLOB1", refused},
		{"foreign character", "TYPE BLOB1!BLOB2", refused},
	})
}

// TestLongLinesMeanFromTheIndexWhatTheyMeanFromAFile has them in a file of their own, which sshd reads again for
// each key.
func TestLongLinesMeanFromTheIndexWhatTheyMeanFromAFile(t *testing.T) {
	t.Parallel()
	meansTheSame(t, "ed25519", plain, []row{
		{"three, far apart", "expiry-time=\"20200101\" KEY\n" + strings.Repeat("OTHER\n", 500) + "from=\"10.0.0.1\" KEY\nOTHER\ncommand=\"echo third\" KEY", "third"},
		{"long comment", "KEY " + strings.Repeat("x", 100_000), in},
		{"long option", `environment="LK_ONE=` + strings.Repeat("x", 20_000) + `",no-user-rc KEY`, "in " + strings.Repeat("x", 20_000) + " -rc"},
		{"as many variables as may be", many(`environment="ELSE_%d=x"`, 1025) + " KEY", in},
		{"one variable too many", many(`environment="ELSE_%d=x"`, 1026) + " KEY", refused},
		{"as many ports as may be", many(`permitopen="127.0.0.1:%d"`, 4097) + " KEY", "in -open1 -open2"},
		{"one port too many", many(`permitopen="127.0.0.1:%d"`, 4098) + " KEY", refused},
	})
}

// many is an option n times, numbered.
func many(option string, n int) string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf(option, i+1)
	}
	return strings.Join(all, ",")
}

func TestAnRSAKeyMayHaveThreeLabels(t *testing.T) {
	t.Parallel()
	meansTheSame(t, "rsa-2048", plain, []row{
		{"ssh-rsa", "no-pty ssh-rsa BLOB me", "in -pty"},
		{"rsa-sha2-256", "no-pty rsa-sha2-256 BLOB me", "in -pty"},
		{"rsa-sha2-512", "no-pty rsa-sha2-512 BLOB me", "in -pty"},
		{"each in turn", "expiry-time=\"20200101\" rsa-sha2-512 BLOB\nfrom=\"10.0.0.1\" ssh-rsa BLOB\nno-pty rsa-sha2-256 BLOB", "in -pty"},
		{"another type", "ssh-ed25519 BLOB", refused},
	})
}

func TestTheLastLineNeedsNoNewline(t *testing.T) {
	t.Parallel()
	w := newTwins(t)
	for _, end := range []string{"", "\r", " me", "\x00"} {
		c := w.add(t, "ed25519", "")
		w.publish(t, w.fill("OTHER\nKEY"+end, c))
		w.agree(t, c.key.Signer, in)
	}
	c := w.add(t, "ed25519", "")
	w.publish(t, w.fill("OTHER", c))
	w.agree(t, c.key.Signer, refused)
}
