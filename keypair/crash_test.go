package keypair_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/keypair"
)

// writerEnv, set to a store's folder, makes the test binary the writer that is killed;
// writerFirstEnv is the number of its first operation.
const (
	writerEnv      = "LATCHKEY_TEST_WRITER"
	writerFirstEnv = "LATCHKEY_TEST_WRITER_FIRST"
)

// numbered is always the same operation for a number: so the writer need not tell what it does.
func numbered(n int) operation { return draw(rand.New(rand.NewPCG(uint64(n), 4)).IntN) }

// writeForEver does one operation after another, and names each on its output once it has returned.
func writeForEver(folder string) {
	n, err := strconv.Atoi(os.Getenv(writerFirstEnv))
	if err != nil {
		panic(err)
	}
	store, err := openOrCreate(folder)
	if err != nil {
		panic(err)
	}
	r, err := keypair.Open(context.Background(), store, keypair.Options{})
	if err != nil {
		panic(err)
	}
	for ; ; n++ {
		numbered(n).run(r)
		fmt.Println(n)
	}
}

// TestWhatWasAcknowledgedSurvivesAKill kills a writer, again and again, until a thousand of its writes were
// acknowledged. Each time the region is as after the last one that was, or after the one under way.
func TestWhatWasAcknowledgedSurvivesAKill(t *testing.T) {
	const wantWrites, wantKills = 1000, 20
	folder, m, next := filepath.Join(t.TempDir(), "region"), newModel(), 0
	writes, killed, under := 0, 0, 0
	for ; writes < wantWrites || killed < wantKills; killed++ {
		acknowledged := killWriter(t, folder, next, 1+rand.IntN(250))
		for ; next < acknowledged; next++ {
			before := m.clone()
			m.apply(numbered(next))
			if !cmp.Equal(before, m) {
				writes++
			}
		}
		if settle(t, folder, &m, numbered(next)) {
			next++
			under++
		}
		if t.Failed() {
			t.Fatalf("after kill %d, in operation %d", killed, next)
		}
	}
	t.Logf("%d operations, %d of them writes; %d kills, %d times what was under way was done", next, writes, killed, under)
}

// killWriter starts a writer at an operation and kills it at some moment after so many were acknowledged. It
// returns the number of the first one that was not.
func killWriter(t *testing.T, folder string, first, count int) (next int) {
	t.Helper()
	writer := exec.Command(os.Args[0])
	writer.Env = append(os.Environ(), writerEnv+"="+folder, writerFirstEnv+"="+strconv.Itoa(first))
	writer.Stderr = os.Stderr
	output, err := writer.StdoutPipe()
	if err == nil {
		err = writer.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	next = first
	for lines := bufio.NewScanner(output); lines.Scan(); next++ {
		if lines.Text() != strconv.Itoa(next) {
			t.Fatalf("the writer says %q, want %d", lines.Text(), next)
		}
		if next == first+count-1 {
			// Any moment is as good: this one is somewhere in the next operations.
			time.AfterFunc(time.Duration(rand.IntN(3000))*time.Microsecond, func() { _ = writer.Process.Kill() })
		}
	}
	if err := writer.Wait(); err == nil || next < first+count {
		t.Fatalf("the writer ended by itself after %d operations (%v)", next-first, err)
	}
	return next
}

// settle compares the store with the model, and with the model after the operation that was under way; it
// tells whether that was done.
func settle(t *testing.T, folder string, m *model, underWay operation) (done bool) {
	t.Helper()
	store := openFile(t, folder)
	defer store.Close()
	consistent(t, store)
	r := openRegion(t, store, keypair.Options{})
	defer r.Close()
	got, after := snapshot(t, r), m.clone()
	after.apply(underWay)
	if cmp.Equal(*m, got) {
		return false
	}
	if diff := cmp.Diff(after, got); diff != "" {
		t.Errorf("neither as acknowledged nor with %+v (-want +got):\n%s", underWay, diff)
	}
	*m = after
	return true
}
