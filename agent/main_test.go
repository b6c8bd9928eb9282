package agent

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/metadata"
	"github.com/latchkey-ssh/latchkey/network"
)

// errandEnv, set, makes the test binary do one errand as a process of its own
// instead of running tests.
const errandEnv = "LATCHKEY_TEST_ERRAND"

// errand is one pass, or a release, or without a binding a daemon until SIGTERM, or
// mischief in a home until SIGKILL.
type errand struct {
	Root     string
	Config   Config
	Seen     *metadata.Binding
	How      How
	Release  *ReleaseHow
	Mischief string
}

// atOnce is how many tests run at once unless -parallel says: many wait most of the
// time, for a pass, or for five seconds to be over.
const atOnce = "4"

func TestMain(m *testing.M) {
	unix.Umask(0o022) // as the programs do, in whatever shell this runs
	if len(os.Args) > 1 && os.Args[1] == network.Command {
		if err := network.ServeInherited(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if text := os.Getenv(errandEnv); text != "" {
		if err := runErrand(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if err := flag.Set("test.parallel", atOnce); err != nil {
		panic(err)
	}
	code := m.Run()
	removeHelper()
	os.Exit(code)
}

func runErrand(text string) error {
	var e errand
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		return err
	}
	if e.Mischief != "" {
		mischief(e.Mischief)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	options := Options{Root: e.Root, Config: e.Config}
	if e.Release != nil {
		_, err := New(options).Release(ctx, *e.Release)
		return err
	}
	if e.Seen != nil {
		_, err := New(options).Pass(ctx, *e.Seen, e.How)
		return err
	}
	return NewDaemon(options, DefaultConfigPath).Run(ctx, readyOnly(func() { fmt.Println("ready") }))
}

// errand is a command that makes one pass in another process, or without a
// binding runs a daemon there.
func (r *rig) errand(seen *metadata.Binding, how How) *exec.Cmd {
	r.t.Helper()
	return send(r.t, errand{Root: r.Root, Config: r.config, Seen: seen, How: how})
}

// send is the command that does an errand.
func send(t *testing.T, e errand) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), errandEnv+"="+string(text))
	return cmd
}
