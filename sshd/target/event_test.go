package target

import "testing"

func TestTheLatestEventsAreRemembered(t *testing.T) {
	var r record
	const all = 4 * maxEvents
	seen := 0
	for number := range uint64(all) {
		r.add(Event{Connection: number})
		if number%(moreEvents/2) != 0 {
			continue
		}
		events, total, _ := r.from(seen) // as one does who waits for the next
		if total != int(number)+1 || len(events) != total-seen || events[len(events)-1].Connection != number {
			t.Fatalf("after event %d: %d of them, from %d", number, len(events), seen)
		}
		seen = total
	}
	events, total, _ := r.from(0)
	if total != all || len(events) < maxEvents || len(events) > maxEvents+moreEvents {
		t.Fatalf("%d of %d events are remembered", len(events), total)
	}
	for i, e := range events {
		if want := uint64(all - len(events) + i); e.Connection != want {
			t.Fatalf("event %d is number %d, want %d", i, e.Connection, want)
		}
	}
}
