package operator

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/cmd/internal/latchkeyd"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
	"github.com/latchkey-ssh/latchkey/keypair/imds"
)

func TestMain(m *testing.M) {
	unix.Umask(0o022) // as the programs do, in whatever shell this runs
	testscript.Main(m, map[string]func(){
		"latchkey":  func() { os.Exit(Run(os.Args[1:])) },
		"latchkeyd": func() { os.Exit(latchkeyd.Run(os.Args[1:])) },
	})
}

// TestCommandsDoAsTheySay runs the scripts of testdata/script: the commands as
// a person types them, on an instance of a few files with the embedded SSH
// server as its sshd. In a script, "endpoint bind NAME", "endpoint unbind" and
// "endpoint MISBEHAVIOUR" set what the metadata endpoint says.
func TestCommandsDoAsTheySay(t *testing.T) {
	server := buildServer(t)
	testscript.Run(t, testscript.Params{
		Dir:   "../../../testdata/script",
		Setup: func(env *testscript.Env) error { return newInstance(env, server) },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"endpoint": endpointCommand,
			"exitcode": testmachine.ExitCode,
		},
	})
}

// buildServer builds latchkey-sshd, which the instances run as their sshd.
func buildServer(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "latchkey-sshd")
	cmd := exec.Command("go", "build", "-o", program, "../../latchkey-sshd")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build latchkey-sshd: %v\n%s", err, out)
	}
	return program
}

type endpointKey struct{}

// newInstance makes an instance in $WORK/instance, whose logon user is whoever
// runs the test, and an endpoint that says that nothing is bound.
func newInstance(env *testscript.Env, server string) error {
	endpoint := imds.New(imds.Instance{ID: "i-script", HTTPTokens: imds.TokensOptional, HTTPEndpoint: imds.EndpointEnabled})
	url, err := serveEndpoint(env, endpoint)
	if err != nil {
		return err
	}
	env.Values[endpointKey{}] = endpoint
	root := filepath.Join(env.WorkDir, "instance")
	for name, text := range map[string]string{
		"etc/passwd":                          fmt.Sprintf("ops:x:%d:%d::/home/ops:/bin/sh\n", os.Getuid(), os.Getgid()),
		"etc/group":                           fmt.Sprintf("ops:x:%d:\n", os.Getgid()),
		"etc/ssh/sshd_config":                 "PidFile /run/sshd.pid\nPort 2222\nInclude /etc/ssh/sshd_config.d/*.conf\nPermitRootLogin yes\n",
		"etc/ssh/sshd_config.d/README":        "",
		"etc/latchkey/latchkey.toml.d/README": "",
		"etc/latchkey/latchkey.toml":          fmt.Sprintf("[metadata]\nendpoint = %q\n[login]\nuser = \"ops\"\n[sshd]\ncommand = [%q, \"--root\", %q]\n", url, server, root),
		"proc/sys/kernel/random/boot_id":      "00000001-0000-4000-8000-000000000000\n",
		"home/ops/.keep":                      "",
		"run/.keep":                           "",
		"bin/sh":                              "#!/bin/sh\n",
		"sys/class/dmi/id/product_uuid":       "one machine\n",
	} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
			return err
		}
	}
	env.Setenv("ROOT", root)
	return nil
}

func serveEndpoint(env *testscript.Env, endpoint *imds.Endpoint) (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: endpoint, ReadHeaderTimeout: time.Second}
	go func() { _ = server.Serve(listener) }()
	env.Defer(func() { _ = server.Close() })
	return "http://" + listener.Addr().String(), nil
}

// endpointCommand sets what the endpoint says.
func endpointCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: endpoint bind NAME | unbind | MISBEHAVIOUR")
	}
	endpoint := ts.Value(endpointKey{}).(*imds.Endpoint)
	switch args[0] {
	case "bind":
		endpoint.Bind(args[1], keyLine(ts, args[1]))
	case "unbind":
		endpoint.Unbind()
	default:
		misbehaviour, err := imds.ParseMisbehaviour(args[0])
		ts.Check(err)
		endpoint.Misbehave(misbehaviour)
	}
}

// keyLine is the public key of NAME, made when first asked for and kept in
// $WORK/NAME.pub.
func keyLine(ts *testscript.TestScript, name string) string {
	file := ts.MkAbs(name + ".pub")
	if data, err := os.ReadFile(file); err == nil {
		return strings.TrimSpace(string(data))
	}
	public, _, err := ed25519.GenerateKey(rand.Reader)
	ts.Check(err)
	key, err := ssh.NewPublicKey(public)
	ts.Check(err)
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))) + " " + name
	ts.Check(os.WriteFile(file, []byte(line+"\n"), 0o644))
	return line
}
