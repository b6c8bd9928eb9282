package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// names are those of the entries of a folder; nil where there is none.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var all []string
	for _, entry := range entries {
		all = append(all, entry.Name())
	}
	return all
}

func TestWhatItWroteForAClientIsRemovedAtItsEnd(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "target")
	for range 2 { // so that it can be started again
		r := start(t, "--write-config", dir)
		if diff := cmp.Diff([]string{"config", "id_ed25519", "known_hosts"}, names(t, dir)); diff != "" {
			t.Errorf("written (-want +got):\n%s", diff)
		}
		if status := r.end(t); status != 0 {
			t.Errorf("exit status %d\n%s", status, &r.stderr)
		}
		if left := names(t, dir); left != nil {
			t.Errorf("left: %q", left)
		}
	}
}

func TestWhatItDidNotWriteIsNotRemoved(t *testing.T) {
	dir := t.TempDir()
	r := start(t, "--write-config", dir)
	if err := os.WriteFile(filepath.Join(dir, "foreign"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "config")
	if err := os.WriteFile(config+".new", []byte("another's"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(config+".new", config); err != nil {
		t.Fatal(err)
	}
	if status := r.end(t); status != 0 {
		t.Errorf("exit status %d\n%s", status, &r.stderr)
	}
	if diff := cmp.Diff([]string{"config", "foreign"}, names(t, dir)); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}

func TestAClientsOwnFilesStayAsTheyAre(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "id_ed25519"), []byte("my only key"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := command(t, "--write-config", dir).CombinedOutput()
	if err == nil || !strings.Contains(string(out), filepath.Join(dir, "id_ed25519")+": file already exists") {
		t.Errorf("%v: %s", err, out)
	}
	data, err := os.ReadFile(filepath.Join(dir, "id_ed25519"))
	if diff := cmp.Diff("my only key", string(data)); err != nil || diff != "" {
		t.Errorf("%v: %s", err, diff)
	}
	if diff := cmp.Diff([]string{"id_ed25519"}, names(t, dir)); diff != "" {
		t.Errorf("in the folder (-want +got):\n%s", diff)
	}
}

func TestARecordThatCannotBeWrittenIsSaidOnce(t *testing.T) {
	r := start(t, "--record", "/dev/full")
	for range 2 {
		if got := r.output(t, "echo in", r.User, r.madeKey(t)); got != "in\n" {
			t.Errorf("got %q", got)
		}
	}
	if status := r.end(t); status != exitFailed {
		t.Errorf("exit status %d", status)
	}
	want := "latchkey-sshd: --record /dev/full: no space left on device: what happens from here on is not recorded\n" +
		"latchkey-sshd: the record is not complete\n"
	if diff := cmp.Diff(want, r.stderr.String()); diff != "" {
		t.Errorf("standard error (-want +got):\n%s", diff)
	}
}
