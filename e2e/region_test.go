package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// region is the keypaird of the cloud, which takes the endpoint's place, and a desk
// at which people call its API. Both run the programs that the instance has.
type region struct {
	t        *testing.T
	instance *instance
	folder   string   // the region's, and the one that the desk works in
	env      []string // of the desk
	asked    *os.File // where the restart hook says which instance
	done     *os.File // where it reads how that went

	pid    int
	ended  chan struct{}
	stderr *bytes.Buffer
}

// newRegion starts one for an instance that is off and has the package. It knows it by
// its address and by what the flags of "keypaird instance add" say.
func newRegion(i *instance, flags ...string) *region {
	i.t.Helper()
	i.endpoint.stop()
	r := &region{t: i.t, instance: i, folder: i.t.TempDir()}
	r.layHook()
	r.init()
	i.t.Cleanup(r.end)
	r.start()
	r.manage(slices.Concat([]string{"instance", "add", instanceID, "--address", instanceAddress}, flags)...)
	return r
}

// init makes the region, and an access key for the desk.
func (r *region) init() {
	r.t.Helper()
	out, err := r.keypaird("init", "--endpoint", regionURL).Output()
	if err != nil {
		r.t.Fatalf("keypaird init: %v", err)
	}
	r.env = []string{"HOME=" + r.folder}
	for line := range strings.Lines(string(out)) {
		r.env = append(r.env, strings.TrimPrefix(strings.TrimSpace(line), "export "))
	}
}

// The API of the region, at the cloud's own address.
const (
	regionAddress = cloudAddress + ":8440"
	regionURL     = "http://" + regionAddress
)

func (r *region) keypaird(args ...string) *exec.Cmd {
	args = append([]string{"--data", filepath.Join(r.folder, "region")}, args...)
	return exec.Command(r.instance.Path("/usr/sbin/keypaird"), args...)
}

// start starts keypaird and waits until it can be asked.
func (r *region) start() {
	r.t.Helper()
	cmd := at(r.instance.network.cloud, r.keypaird("--listen", regionAddress, "--insecure-http",
		"--imds", endpointAddress+":80", "--restart-hook", filepath.Join(r.folder, "hook")))
	r.stderr = new(bytes.Buffer)
	cmd.Stderr = r.stderr
	said, err := cmd.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	if r.pid, r.ended, err = startOnThread(cmd); err != nil {
		r.t.Fatal(err)
	}
	r.awaitReady(said)
}

// awaitReady waits for the line with which keypaird says that it can be asked.
func (r *region) awaitReady(said io.Reader) {
	r.t.Helper()
	line := make(chan string, 1)
	go func() {
		text, _ := bufio.NewReader(said).ReadString('\n') // what is not whole is no JSON
		line <- text
	}()
	select {
	case text := <-line:
		var ready struct{ Endpoint string }
		if err := json.Unmarshal([]byte(text), &ready); err != nil || ready.Endpoint != regionURL {
			r.t.Fatalf("keypaird says that it is at %q (%v), want %s", ready.Endpoint, err, regionURL)
		}
	case <-time.After(bootTimeout):
		r.t.Fatal("keypaird does not say that it can be asked")
	}
}

// kill ends keypaird as a crash does.
func (r *region) kill() {
	_ = unix.Kill(r.pid, unix.SIGKILL) // gone already is as good
	<-r.ended
}

func (r *region) end() {
	if r.ended == nil {
		return
	}
	r.kill()
	if r.t.Failed() {
		r.t.Logf("keypaird:\n%s", r.stderr)
	}
}

// manage tells the region something as its operator.
func (r *region) manage(args ...string) string {
	r.t.Helper()
	out, err := r.keypaird(args...).CombinedOutput()
	if err != nil {
		r.t.Fatalf("keypaird %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// latchkey is a command at the desk.
func (r *region) latchkey(args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	r.t.Cleanup(cancel)
	cmd := at(r.instance.network.cloud, exec.CommandContext(ctx, r.instance.Path("/usr/bin/latchkey"), args...))
	cmd.Env, cmd.Dir = r.env, r.folder
	return cmd
}

// desk runs a command there to its end; one that fails ends the test.
func (r *region) desk(args ...string) string {
	r.t.Helper()
	out, err := r.latchkey(args...).CombinedOutput()
	if err != nil {
		r.t.Fatalf("latchkey %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// create makes a key pair.
func (r *region) create(name string) testmachine.Key {
	r.t.Helper()
	r.desk("keypair", "create", name)
	return testmachine.Key{PEM: filepath.Join(r.folder, name+".pem")}
}

// hook has the test restart the instance: it asks by one pipe and waits for the
// answer in another.
const hook = `#!/bin/sh
cd "${0%/*}"
echo "$*" >asked
read -r status <done
exit "$status"
`

func (r *region) layHook() {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.folder, "hook"), []byte(hook), 0o755); err != nil {
		r.t.Fatal(err)
	}
	r.asked, r.done = r.pipe("asked"), r.pipe("done")
}

// pipe makes a pipe with a name, whose two ends are open from now on.
func (r *region) pipe(name string) *os.File {
	r.t.Helper()
	path := filepath.Join(r.folder, name)
	if err := unix.Mkfifo(path, 0o600); err != nil {
		r.t.Fatal(err)
	}
	file, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = file.Close() })
	return file
}

// reboot restarts the instance by the API, and returns once that says that it runs
// again.
func (r *region) reboot() {
	r.t.Helper()
	var said bytes.Buffer
	cmd := r.latchkey("instance", "reboot", "--wait", instanceID)
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.answerHook()
	if err := cmd.Wait(); err != nil {
		r.t.Fatalf("latchkey instance reboot: %v\n%s", err, &said)
	}
}

// answerHook restarts the instance once the hook asks for it.
func (r *region) answerHook() {
	r.t.Helper()
	if err := r.asked.SetReadDeadline(time.Now().Add(bootTimeout)); err != nil {
		r.t.Fatal(err)
	}
	line, err := bufio.NewReader(r.asked).ReadString('\n')
	if err != nil || line != instanceID+"\n" {
		r.t.Fatalf("the hook asks for a restart of %q (%v)", line, err)
	}
	r.wantStatus("Starting")
	r.instance.restart()
	if _, err := fmt.Fprintln(r.done, 0); err != nil {
		r.t.Fatal(err)
	}
}

// wantStatus checks what the API says of the instance.
func (r *region) wantStatus(want string) {
	r.t.Helper()
	if got := r.desk("instance", "list", "--status", want, "--output", "name"); got != instanceID+"\n" {
		r.t.Errorf("the instances that are %s: %q", want, got)
	}
}
