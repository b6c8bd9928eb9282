package memstore_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/latchkey-ssh/latchkey/keypair"
	"github.com/latchkey-ssh/latchkey/keypair/memstore"
	"github.com/latchkey-ssh/latchkey/keypair/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConforms(t *testing.T) {
	storetest.Run(t, func(*testing.T) keypair.Store { return memstore.New() })
}
