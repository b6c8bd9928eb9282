package main

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-ssh/latchkey/sshd/target"
)

func TestMemoryIsGivenBackOnceItHasBeenQuietForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q quiet
		for range 3 {
			q.told(target.Event{Time: time.Now()})
			time.Sleep(quietFor - 1)
			if q.isQuiet() {
				t.Fatal("given back while something happened")
			}
		}
		time.Sleep(time.Nanosecond) // of the bubble's clock
		synctest.Wait()
		if q.timer != nil {
			t.Error("not given back in the end")
		}
	})
}
