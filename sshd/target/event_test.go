package target

import "testing"

func TestTheLatestEventsAreRemembered(t *testing.T) {
	var r record
	const all = 4 * maxEvents
	seen := 0
	for number := range uint64(all) {
		r.add(Event{Connection: number})
		if n := len(r.events); n < min(int(number)+1, maxEvents) || n > maxEvents+moreEvents {
			t.Fatalf("after event %d: %d are remembered", number, n)
		}
		if number%(moreEvents/2) != 0 {
			continue
		}
		events, total, _ := r.from(seen) // as one does who waits for the next
		if total != int(number)+1 || len(events) != total-seen || events[len(events)-1].Connection != number {
			t.Fatalf("after event %d: %d of them, from %d", number, len(events), seen)
		}
		seen = total
	}
	events, _, _ := r.from(0)
	for i, e := range events {
		if want := uint64(all - len(events) + i); e.Connection != want {
			t.Fatalf("event %d is number %d, want %d", i, e.Connection, want)
		}
	}
}
