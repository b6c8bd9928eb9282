package agent

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

func TestAppliersAtTheSameTimeTakeTurnsAndTheEndIsRight(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.AuthorizedKeys(testUser)
	r.WriteFile(keysFile, oddLines, 0o600)
	r.StartSSHD()
	first, second := testmachine.NewKey(t, "ed25519"), testmachine.NewKey(t, "ed25519")
	bindings := []testmachine.Key{first, second, first, second}
	var group sync.WaitGroup
	for i, key := range bindings {
		seen := bound(t, key)
		cmd := r.errand(&seen, How{Now: true})
		group.Go(func() {
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("applier %d: %v\n%s", i, err, out)
			}
		})
	}
	group.Wait()
	if err := soundKeysFile(r.Path(keysFile)); err != nil {
		t.Error(err)
	}
	r.wantPassword(false)
	if r.logsIn(first) == r.logsIn(second) {
		t.Error("both keys log in, or neither; want the one that was bound last")
	}
	r.pass(bound(t, first), How{Now: true})
	r.wantKey(first, true)
	r.wantKey(second, false)
}

func TestAnApplierThatHasToWaitTooLongSaysSo(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	unlock, err := r.agent().lock(context.Background(), lockWait)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	before := r.traces(userFolders...)
	if _, err := r.agent().Pass(ctx, bound(t, testmachine.NewKey(t, "ed25519")), How{}); !errors.Is(err, ErrBusy) {
		t.Errorf("pass: %v, want ErrBusy", err)
	}
	r.wantUntouched(before, userFolders...)
}
