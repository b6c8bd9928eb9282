package bench

import (
	"context"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
	"github.com/latchkey-ssh/latchkey/keypair/ecsclient"
	"github.com/latchkey-ssh/latchkey/metadata"
)

// keypaird is the program, with a region in a file and one instance.
type keypaird struct {
	client   *ecsclient.Client
	metadata string // endpoint of the instance, a URL
}

func newKeypaird(b *testing.B) *keypaird {
	b.Helper()
	dir := b.TempDir()
	program := buildProgram(b, "../cmd/keypaird")
	data := filepath.Join(dir, "region")
	var key struct{ ID, Secret string }
	out, err := exec.Command(program, "init", "--json", "--data", data).Output()
	if err != nil || json.Unmarshal(out, &key) != nil {
		b.Fatalf("keypaird init: %v, it prints %d bytes", err, len(out))
	}
	cmd := exec.Command(program, "--data", data, "--listen", "127.0.0.1:0", "--imds", instanceID+"=127.0.0.1:0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { stop(b, cmd) })
	var ready struct {
		Endpoint, Region string
		Metadata         []struct{ Endpoint string }
	}
	if err := json.NewDecoder(stdout).Decode(&ready); err != nil {
		b.Fatalf("keypaird did not start: %v", err)
	}
	client, err := ecsclient.New(ecsclient.Options{
		Region: ready.Region, Endpoint: ready.Endpoint,
		Credentials: ecsclient.Credentials{AccessKeyID: key.ID, AccessKeySecret: key.Secret},
	})
	if err != nil {
		b.Fatal(err)
	}
	return &keypaird{client, ready.Metadata[0].Endpoint}
}

// importNew makes a key pair of a new key.
func (k *keypaird) importNew(b *testing.B, name string) {
	b.Helper()
	key := testmachine.NewKey(b, "ed25519")
	if _, err := k.client.ImportKeyPair(b.Context(), ecsclient.NewKeyPair{Name: name}, strings.TrimSpace(key.Line)); err != nil {
		b.Fatal(err)
	}
}

func (k *keypaird) attach(b *testing.B, pair string) {
	b.Helper()
	outcomes, err := k.client.AttachKeyPair(b.Context(), pair, []string{instanceID})
	if err != nil || len(outcomes) != 1 || outcomes[0].Err != nil {
		b.Fatalf("attach %s: %+v, %v", pair, outcomes, err)
	}
}

// BenchmarkSignedCalls is the API as several clients see it: signed with V3, verified, read from
// the region's file.
func BenchmarkSignedCalls(b *testing.B) {
	k := newKeypaird(b)
	for _, name := range []string{"first", "second", "third"} {
		k.importNew(b, name)
	}
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			pairs := 0
			for _, err := range k.client.KeyPairs(context.Background(), ecsclient.KeyPairFilter{}) {
				if err != nil {
					b.Error(err)
					return
				}
				pairs++
			}
			if pairs != 3 {
				b.Errorf("%d key pairs, want 3", pairs)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}

// BenchmarkAttachCalls is a change: the nonce and the binding are on disk before it is answered.
func BenchmarkAttachCalls(b *testing.B) {
	k := newKeypaird(b)
	k.importNew(b, "first")
	k.importNew(b, "second")
	for i := 0; b.Loop(); i++ {
		k.attach(b, []string{"first", "second"}[i%2])
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}

// BenchmarkAttachToAgent is from AttachKeyPair's answer until the agent that waited for a change
// has read it. The agent hears of it before the answer is there, mostly: that counts as 0.
func BenchmarkAttachToAgent(b *testing.B) {
	k := newKeypaird(b)
	k.importNew(b, "first")
	k.importNew(b, "second")
	agent, err := metadata.New(metadata.Options{Endpoint: k.metadata})
	if err != nil {
		b.Fatal(err)
	}
	defer agent.Close()
	k.attach(b, "second")
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		seen := agent.Fetch(b.Context())
		heard := make(chan time.Time, 1)
		go func() {
			changed, err := agent.Watch(b.Context(), seen.ETag, time.Minute)
			if err != nil || !changed {
				b.Errorf("the watch says %v, %v", changed, err)
			}
			heard <- time.Now()
		}()
		time.Sleep(20 * time.Millisecond) // the endpoint holds it by then
		k.attach(b, []string{"first", "second"}[i%2])
		answered := time.Now()
		took = append(took, max((<-heard).Sub(answered), 0))
	}
	b.ReportMetric(milliseconds(percentile(took, 99)), "ms-p99/read")
	b.ReportMetric(5, "goal-ms-p99/read")
}
