package metadata

import (
	"strings"
	"testing"
	"time"
)

func TestAWrongOptionSaysWhatIsExpected(t *testing.T) {
	tests := map[string]struct {
		options Options
		want    string
	}{
		"no scheme":       {Options{Endpoint: "100.100.100.200"}, "want \"http://ADDRESS"},
		"no host":         {Options{Endpoint: "http://"}, "want \"http://ADDRESS"},
		"another scheme":  {Options{Endpoint: "ftp://127.0.0.1"}, "ftp://127.0.0.1: want"},
		"a path":          {Options{Endpoint: "http://127.0.0.1/latest"}, "nothing after it"},
		"a query":         {Options{Endpoint: "http://127.0.0.1?x"}, "nothing after it"},
		"a password":      {Options{Endpoint: "http://u:secret@127.0.0.1"}, "nothing after it"},
		"a bad port":      {Options{Endpoint: "http://u:secret@127.0.0.1:x"}, "not a URL"},
		"a name":          {Options{Endpoint: "http://metadata.example"}, "an IP address, not a name"},
		"token":           {Options{Token: "never"}, `"auto", "required" or "off"`},
		"version":         {Options{Version: "v1"}, `"latest" "2016-01-01"`},
		"instance":        {Options{InstanceID: "<html>"}, `want "i-"`},
		"negative":        {Options{MaxElapsed: -1}, "none below zero"},
		"token life":      {Options{TokenTTL: 7 * time.Hour}, "want 1s to 6h0m0s"},
		"too short a one": {Options{TokenTTL: time.Millisecond}, "want 1s to 6h0m0s"},
	}
	for name, test := range tests {
		_, err := New(test.options)
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
	for _, endpoint := range []string{"", "http://127.0.0.1:8080/", "http://[fd00::1]:80", "http://localhost:1", "https://metadata.example"} {
		if _, err := New(Options{Endpoint: endpoint}); err != nil {
			t.Error(err)
		}
	}
}
