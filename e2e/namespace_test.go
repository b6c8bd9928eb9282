package e2e

import (
	"testing"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// TestPolyinstantiatedFoldersNeedWhatTheDocumentationSays: pam_namespace mounts,
// which latchkeyd.service may not. Passwords stay on until it may.
func TestPolyinstantiatedFoldersNeedWhatTheDocumentationSays(t *testing.T) {
	var key testmachine.Key
	i := boot(t, func(i *instance) {
		key = i.endpoint.bindNew("first")
		i.endpoint.loginAs(ecsUser)
		i.WriteFile("/etc/security/namespace.conf", "/tmp /tmp-inst/ user root\n", 0o644)
		i.Mkdir("/tmp-inst", 0o000)
		i.WriteFile("/etc/pam.d/sshd", i.ReadFile("/etc/pam.d/sshd")+"session required pam_namespace.so\n", 0o644)
	})
	i.wantIn(ecsUser, byKey(key), byPassword(secret))
	if faults := i.status().Faults; len(faults) == 0 {
		t.Error("status names no fault")
	}
	i.WriteFile("/etc/systemd/system/latchkeyd.service.d/namespace.conf",
		"[Service]\nCapabilityBoundingSet=CAP_SYS_ADMIN\nRestrictNamespaces=no\nSystemCallFilter=@mount unshare\n", 0o644)
	i.restart()
	i.wantBound(ecsUser, key)
}
