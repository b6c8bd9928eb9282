package agent

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// TestACommandForAGroupThatOnlyADirectoryKnowsIsNotCutOff: /etc/group, which is all that
// is read here, does not have the group.
func TestACommandForAGroupThatOnlyADirectoryKnowsIsNotCutOff(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.deliverBy(ByCommand)
	r.WriteFile("/etc/nsswitch.conf", "passwd: files\ngroup: files systemd\nshadow: files\n", 0o644)
	for _, name := range []string{"directory", "54321"} { // nss-systemd(8)
		r.WriteFile("/etc/userdb/"+name+".group", `{"groupName": "directory", "gid": 54321, "disposition": "regular"}`, 0o644)
	}
	r.WriteFile("/etc/userdb/"+testUser+":directory.membership", "{}", 0o644)
	key, admins := testmachine.NewKey(t, "ed25519"), testmachine.NewKey(t, "ed25519")
	r.adminScript("/usr/local/bin/keys", admins)
	r.SSHDConfig(testmachine.DefaultSSHDConfig + "Match Group directory\n\tAuthorizedKeysCommand /usr/local/bin/keys\n\tAuthorizedKeysCommandUser nobody\n")
	r.StartSSHD()
	r.wantKey(admins, true)
	files := r.sshdFiles()

	outcome := r.pass(bound(t, key), How{})
	if !outcome.Applied.hasFault("keys-command-chain") {
		t.Errorf("faults %+v, want the command named that would be cut off", outcome.Applied.Faults)
	}
	if diff := cmp.Diff(files, r.sshdFiles()); diff != "" {
		t.Errorf("sshd's files (-before +after):\n%s", diff)
	}
	r.wantKey(admins, true)
	r.wantPassword(true)
	if names, _ := r.doctor(bound(t, key)); !slices.Contains(names, "fail keys-command-chain") {
		t.Errorf("doctor: %v, want the same", names)
	}
}
