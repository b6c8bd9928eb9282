package ecscli

import (
	"testing"
	"time"
)

func TestAnExpiredCertificateIsCalledSo(t *testing.T) {
	at := func(year int) time.Time { return time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC) }
	tests := []struct {
		after, before time.Time
		want          string
	}{
		{time.Time{}, time.Time{}, "for ever"},
		{time.Time{}, at(2027), "until 2027-01-01T00:00:00Z"},
		{time.Time{}, at(2026), "until 2026-01-01T00:00:00Z (expired)"},
		{at(2025), time.Time{}, "from 2025-01-01T00:00:00Z"},
		{at(2027), at(2028), "from 2027-01-01T00:00:00Z until 2028-01-01T00:00:00Z (not yet)"},
	}
	for _, test := range tests {
		c := certificate{after: test.after, before: test.before, ValidAfter: timestamp(test.after), ValidBefore: timestamp(test.before)}
		if got := c.validity(at(2026)); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}
