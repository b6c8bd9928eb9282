package ecsclient

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
)

// TestAListHoldsNoMoreThanItsBound: few items may have much in them.
func TestAListHoldsNoMoreThanItsBound(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	tags := make([]Tag, 1<<15) // 1 MiB without a text in them
	tests := map[string]func(name string) KeyPair{
		"long names":            func(name string) KeyPair { return KeyPair{Name: name + long} },
		"tags with nothing":     func(name string) KeyPair { return KeyPair{Name: name, Tags: tags} },
		"tags with long values": func(name string) KeyPair { return KeyPair{Name: name, Tags: []Tag{{name, long}}} },
		"long keys":             func(name string) KeyPair { return KeyPair{Name: name, PublicKey: long} },
	}
	for name, pair := range tests {
		t.Run(name, func(t *testing.T) {
			l := list[KeyPair]{action: "DescribeKeyPairs", page: pairPage, most: MaxKeyPairs}
			fetch := func(page url.Values) ([]KeyPair, int, error) {
				return []KeyPair{pair("web" + page.Get("PageNumber"))}, 1_000_000_000, nil
			}
			pairs := 0
			var err error
			for _, err = range l.all(url.Values{}, fetch) {
				pairs++
			}
			if want := fmt.Sprintf("%s: more than %d MiB", l.action, maxHeld>>20); err == nil || !strings.HasPrefix(err.Error(), want) || pairs > maxHeld>>20+1 {
				t.Errorf("%d pairs and %v", pairs, err)
			}
		})
	}
}
