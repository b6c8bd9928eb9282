package sshdtest

import (
	"testing"

	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// releases are Debian trees by what their sshd needs said besides: 10.0 counts failures
// against the address that all of these logons come from.
var releases = map[string]string{"bullseye": "", "trixie": "PerSourcePenalties no\n"}

func TestOtherReleasesOfOpenSSH(t *testing.T) {
	t.Parallel()
	for suite, more := range releases {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			r := newRefusal(t, suite, more)
			ca, wrong := testmachine.NewKey(t, "ed25519"), testmachine.NewKey(t, "rsa-2048")
			r.index(user, "cert-authority,no-pty "+ca.Line+"\n")
			certificate := certified(sound)(t, cast{wrong, wrong, ca})
			r.want(t, true, r.key.Signer)
			r.want(t, true, certificate)
			r.want(t, false, wrong.Signer)
			for path, reason := range map[string]string{
				boundIndex: boundIndex, index.Dir: index.Dir, program: "Unsafe AuthorizedKeysCommand", "/usr": "Unsafe AuthorizedKeysCommand",
			} {
				r.refuses(t, r.spoils(path)[1], reason)
			}
			r.bind(user)
			r.want(t, false, r.key.Signer)
			r.want(t, true, certificate)
		})
	}
}
