package target

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTerminalModesAreReadAllOrNone(t *testing.T) {
	echoOff := "\x35\x00\x00\x00\x00"
	for name, test := range map[string]struct {
		encoded string
		want    []mode
	}{
		"none":               {"", nil},
		"the end alone":      {"\x00", nil},
		"one":                {echoOff + "\x00", []mode{{53, 0}}},
		"one, and no end":    {echoOff, []mode{{53, 0}}},
		"two":                {echoOff + "\x80\x00\x00\x96\x00\x00", []mode{{53, 0}, {128, 38400}}},
		"cut short":          {echoOff + "\x35\x00", nil},
		"behind the end":     {echoOff + "\x00" + echoOff, nil},
		"a code not defined": {echoOff + "\xa0\x00\x00\x00\x00\x00", nil},
	} {
		if diff := cmp.Diff(test.want, parseModes([]byte(test.encoded)), cmp.AllowUnexported(mode{})); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
