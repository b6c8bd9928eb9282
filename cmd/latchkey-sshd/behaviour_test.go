package main

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

func TestAFaultStrikes(t *testing.T) {
	r := start(t, "--fault", "refuse-signature")
	if got := r.output(t, "echo in", r.User, r.madeKey(t)); got != "refused" {
		t.Errorf("got %q", got)
	}
}

func TestTheBannerIsShownAsALine(t *testing.T) {
	r := start(t, "--banner", "no trespassing")
	var shown string
	client, err := ssh.Dial("tcp", r.Address, &ssh.ClientConfig{
		User: r.User, Auth: []ssh.AuthMethod{r.madeKey(t)}, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
		BannerCallback: func(text string) error { shown = text; return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if shown != "no trespassing\n" {
		t.Errorf("shown: %q", shown)
	}
}

func TestSFTPIsServedInTheFolder(t *testing.T) {
	dir := t.TempDir()
	r := start(t, "--sftp", dir)
	client, err := r.dial(t, r.User, r.madeKey(t))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	files, err := sftp.NewClient(client)
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	file, err := files.Create("/greeting")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(file, "hello"); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "greeting"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("hello", string(got)); diff != "" {
		t.Error(diff)
	}
}

func TestWhatItsCallerLeftOpenIsNotForCommands(t *testing.T) {
	secret, err := os.Open(write(t, "secret"))
	if err != nil {
		t.Fatal(err)
	}
	defer secret.Close()
	cmd := command(t)
	cmd.ExtraFiles = []*os.File{secret}
	r := begin(t, cmd)
	got := r.output(t, "cat <&3 2>/dev/null || echo closed", r.User, r.madeKey(t))
	if diff := cmp.Diff("closed\n", got); diff != "" {
		t.Error(diff)
	}
}
