package storetest

import (
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/keypair"
)

var serializability = []promise{
	{"ConcurrentCountersLoseNothing", countersLoseNothing},
	{"WhatWasReadIsStillTrueAtTheCommit", readStillTrue},
	{"ACountOfKeysIsStillTrueAtTheCommit", countStillTrue},
}

const (
	workers = 8
	rounds  = 20
)

// together runs work in as many goroutines as there are workers.
func together(work func(worker int)) {
	var all sync.WaitGroup
	for worker := range workers {
		all.Go(func() { work(worker) })
	}
	all.Wait()
}

func countersLoseNothing(t *testing.T, store keypair.Store) {
	together(func(worker int) {
		for range rounds {
			err := store.Update(t.Context(), func(tx keypair.Tx) error {
				for _, key := range []string{"all", fmt.Sprint("of ", worker)} {
					n, err := number(tx, key)
					if err != nil {
						return err
					}
					if err := putNumber(tx, key, n+1); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		}
	})
	want := map[string]string{"all": strconv.Itoa(workers * rounds)}
	for worker := range workers {
		want[fmt.Sprint("of ", worker)] = strconv.Itoa(rounds)
	}
	expect(t, store, want)
}

// readStillTrue is where snapshot isolation is not enough: each leaves only if another stays, and changes
// nothing but its own key.
func readStillTrue(t *testing.T, store keypair.Store) {
	for range rounds {
		on := map[string][]byte{}
		for worker := range workers {
			on[strconv.Itoa(worker)] = []byte("on")
		}
		update(t, store, on)
		together(func(worker int) {
			if err := store.Update(t.Context(), func(tx keypair.Tx) error { return leave(tx, worker) }); err != nil {
				t.Error(err)
			}
		})
		if left := content(t, store); len(left) != 1 {
			t.Fatalf("on are %v, want exactly one", left)
		}
	}
}

func leave(tx keypair.Tx, worker int) error {
	on := 0
	for other := range workers {
		value, err := tx.Get(strconv.Itoa(other))
		if err != nil {
			return err
		}
		if value != nil {
			on++
		}
	}
	if on < 2 {
		return nil
	}
	return tx.Delete(strconv.Itoa(worker))
}

// countStillTrue is a quota: each puts a key that nobody else has read.
func countStillTrue(t *testing.T, store keypair.Store) {
	const quota = workers*rounds - rounds/2
	together(func(worker int) {
		for round := range rounds {
			err := store.Update(t.Context(), func(tx keypair.Tx) error {
				count := 0
				err := tx.Scan("of ", func(string, []byte) error { count++; return nil })
				if err != nil || count >= quota {
					return err
				}
				return tx.Put(fmt.Sprintf("of %d/%d", worker, round), nil)
			})
			if err != nil {
				t.Error(err)
			}
		}
	})
	if diff := cmp.Diff(quota, len(content(t, store))); diff != "" {
		t.Errorf("keys (-quota +got):\n%s", diff)
	}
}
