package keypaird

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/latchkey-ssh/latchkey/cmd/internal/operator"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"keypaird": func() { os.Exit(Run(os.Args[1:])) },
		"latchkey": func() { os.Exit(operator.Run(os.Args[1:])) },
	})
}

// TestTheRegionDoesAsItsCommandsSay runs the scripts of testdata/script: a region as its
// operator starts and tells it, with "latchkey keypair" as the one who calls its API.
func TestTheRegionDoesAsItsCommandsSay(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:      "testdata/script",
		Deadline: time.Now().Add(5 * time.Minute), // a region that is to be refused, and is not, serves on
		Setup:    setUp,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exitcode":    testmachine.ExitCode,
			"serve":       serveCommand,
			"end":         endCommand,
			"get":         getCommand,
			"watch":       watchCommand,
			"wait-for":    waitForCommand,
			"certificate": certificateCommand,
			"flood":       floodCommand,
		},
	})
}

// patience is how long anything may take that a script waits for.
const patience = 20 * time.Second

func setUp(env *testscript.Env) error {
	r := &running{}
	env.Values[runningKey{}] = r
	env.Setenv("HOME", env.WorkDir) // no profile of whoever runs the test
	env.Defer(r.kill)
	return nil
}

type runningKey struct{}

func theRunning(ts *testscript.TestScript) *running { return ts.Value(runningKey{}).(*running) }

// serveCommand starts a region and waits until it can be asked. What it says of itself is in
// $API, $IMDS (the second: $IMDS2), $MANAGE and the variables of the SDKs, and is what the next command sees as
// standard output.
func serveCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("usage: serve [FLAG ...]")
	}
	r := theRunning(ts)
	r.kill()
	ts.Check(r.start(ts, args))
	line, err := r.firstLine()
	ts.Check(err)
	fmt.Fprintln(ts.Stdout(), line.text)
	ts.Setenv("API", line.Endpoint)
	ts.Setenv("MANAGE", line.Manage)
	ts.Setenv("LATCHKEY_ECS_ENDPOINT", line.Endpoint)
	ts.Setenv("ALIBABA_CLOUD_REGION_ID", line.Region)
	if key := line.AccessKey; key != nil {
		ts.Setenv("ALIBABA_CLOUD_ACCESS_KEY_ID", key.ID)
		ts.Setenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET", key.Secret)
	}
	for i, at := range line.Metadata {
		ts.Setenv([]string{"IMDS", "IMDS2"}[i], at.Endpoint)
	}
}

// floodCommand makes connections that stay: idle after an answer, or with a body that is never sent.
func floodCommand(ts *testscript.TestScript, neg bool, args []string) {
	requests := map[string]string{
		"idle": "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"body": "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n",
	}
	if neg || len(args) != 3 || requests[args[1]] == "" {
		ts.Fatalf("usage: flood COUNT idle|body URL")
	}
	count, err := strconv.Atoi(args[0])
	ts.Check(err)
	ts.Check(theRunning(ts).hold(count, args[2], requests[args[1]]))
}

// endCommand sends the region a signal and checks how it ends. What it has logged is standard error.
func endCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: end TERM|KILL STATUS")
	}
	r := theRunning(ts)
	status, err := r.end(args[0])
	ts.Check(err)
	fmt.Fprint(ts.Stderr(), r.stderr.String())
	if got := strconv.Itoa(status); got != args[1] {
		ts.Fatalf("keypaird ended with %s, want %s", got, args[1])
	}
}

// getCommand reads from the metadata endpoint: what it answers is standard output.
func getCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: get STATUS PATH")
	}
	got, err := get(context.Background(), ts.Getenv("IMDS")+args[1])
	ts.Check(err)
	fmt.Fprint(ts.Stdout(), got.body)
	if strconv.Itoa(got.status) != args[0] {
		ts.Fatalf("%s is answered %d, want %s", args[1], got.status, args[0])
	}
}

// watchCommand waits for a change of what is bound, beside the script: "watch NAME" begins,
// "watch NAME STATUS" waits until that is answered, "watch NAME ended" until it ends in any way.
func watchCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 || len(args) > 2 {
		ts.Fatalf("usage: watch NAME [STATUS|ended]")
	}
	r := theRunning(ts)
	if len(args) == 1 {
		ts.Check(r.watch(args[0], ts.Getenv("IMDS")))
		return
	}
	select {
	case got := <-r.watches[args[0]]:
		if args[1] != "ended" && got != args[1] {
			ts.Fatalf("the watch was answered %s, want %s", got, args[1])
		}
	case <-time.After(patience):
		ts.Fatalf("the watch goes on")
	}
}

// waitForCommand runs a command until it succeeds and says this.
func waitForCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: wait-for TEXT COMMAND [ARGUMENT ...]")
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if ts.Exec(args[1], args[2:]...) == nil && strings.Contains(ts.ReadFile("stdout"), args[0]) {
			return
		}
	}
	ts.Fatalf("waited in vain for %q", args[0])
}
