package idle

import (
	"bytes"
	"os"
	"strconv"
	"testing"
)

// residentKB is the memory that the process holds (proc(5), VmRSS).
func residentKB(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(status, []byte("VmRSS:"))
	kB, err := strconv.Atoi(string(bytes.Fields(rest)[0]))
	if err != nil {
		t.Fatal(err)
	}
	return kB
}

func TestWhatWasNeededIsGivenBack(t *testing.T) {
	const most = 64 << 10
	worked := bytes.Repeat([]byte{1}, most<<10)
	if held := residentKB(t); held < most {
		t.Fatalf("%d KB are held while %d are in use", held, most)
	}
	before := residentKB(t)
	worked[0]++ // in use until here
	GiveBack()
	if gone := before - residentKB(t); gone < most {
		t.Errorf("%d KB were given back, want %d", gone, most)
	}
}

func TestOnlyUnchangingPagesOfTheProgramAreDropped(t *testing.T) {
	for name, test := range map[string]struct {
		fields []string
		want   mapping
	}{
		"its text":            {[]string{"00400000-00500000", "r-xp", "00000000", "08:01", "7", "/bin/x"}, mapping{0x400000, 0x100000, true}},
		"its constants":       {[]string{"00500000-00600000", "r--p", "00100000", "08:01", "7", "/bin/x"}, mapping{0x500000, 0x100000, true}},
		"its variables":       {[]string{"00600000-00700000", "rw-p", "00200000", "08:01", "7", "/bin/x"}, mapping{}},
		"another file":        {[]string{"00400000-00500000", "r-xp", "00000000", "08:01", "8", "/lib/y"}, mapping{}},
		"no file":             {[]string{"00700000-00800000", "r--p", "00000000", "00:00", "0"}, mapping{}},
		"a replaced program":  {[]string{"00400000-00500000", "r-xp", "00000000", "08:01", "7", "/bin/x", "(deleted)"}, mapping{}},
		"ends before it does": {[]string{"00500000-00400000", "r-xp", "00000000", "08:01", "7", "/bin/x"}, mapping{}},
	} {
		if got := parseMapping(test.fields, "/bin/x"); got != test.want {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
	}
}
