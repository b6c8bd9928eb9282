package sdktest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	region  = "cn-hangzhou"
	first   = "i-sdk1"
	second  = "i-sdk2"
	windows = "i-windows"
	unknown = "i-unknown"
)

// keypaird is a region that runs.
type keypaird struct {
	Endpoint  string `json:"endpoint"`
	AccessKey struct {
		ID     string `json:"id"`
		Secret string `json:"secret"`
	} `json:"access_key"`
}

// host is the endpoint as SDKs want it: without the scheme.
func (k keypaird) host(t *testing.T) string {
	t.Helper()
	endpoint, err := url.Parse(k.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	return endpoint.Host
}

var build = sync.OnceValues(func() (string, error) {
	if program := os.Getenv("KEYPAIRD"); program != "" {
		return filepath.Abs(program)
	}
	folder, err := os.MkdirTemp("", "sdktest-")
	if err != nil {
		return "", err
	}
	program := filepath.Join(folder, "keypaird")
	cmd := exec.Command("go", "build", "-o", program, "./cmd/keypaird")
	cmd.Dir = "../../.." // the product's module
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build keypaird: %w\n%s", err, out)
	}
	return program, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if program, err := build(); err == nil && os.Getenv("KEYPAIRD") == "" {
		_ = os.RemoveAll(filepath.Dir(program))
	}
	os.Exit(code)
}

// start runs a region with two Linux instances and a Windows one, which ends with the test.
func start(t *testing.T) keypaird {
	t.Helper()
	program, err := build()
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "manage.sock")
	cmd := exec.Command(program, "--memory", "--region", region, "--listen", "127.0.0.1:0", "--manage", socket)
	var running keypaird
	if err := json.Unmarshal(firstLine(t, cmd), &running); err != nil {
		t.Fatal(err)
	}
	for _, add := range [][]string{{first}, {second}, {windows, "--os-type", "windows"}} {
		if out, err := exec.Command(program, append([]string{"--manage", socket, "instance", "add"}, add...)...).CombinedOutput(); err != nil {
			t.Fatalf("add %s: %v\n%s", add[0], err, out)
		}
	}
	return running
}

// firstLine starts a program and returns what it prints first. At the test's end it is told to end, and
// has to have written no secret into its log.
func firstLine(t *testing.T, cmd *exec.Cmd) []byte {
	t.Helper()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	late.Stop()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("keypaird: %v", err)
		}
		if strings.Contains(log.String(), "PRIVATE KEY") {
			t.Error("a private key is in the log")
		}
		if t.Failed() {
			t.Logf("keypaird says:\n%s", log.String())
		}
	})
	if err != nil {
		t.Fatalf("keypaird does not start: %v\n%s", err, log.String())
	}
	return line
}
