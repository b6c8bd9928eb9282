package ecscli_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/latchkey-ssh/latchkey/cmd/internal/operator"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
	"github.com/latchkey-ssh/latchkey/keypair"
	"github.com/latchkey-ssh/latchkey/keypair/ecsapi"
	"github.com/latchkey-ssh/latchkey/keypair/memstore"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"latchkey": func() { os.Exit(operator.Run(os.Args[1:])) },
	})
}

// TestCommandsDoAsTheySay runs the scripts of testdata/script/keypair: the commands as a person types them, against
// a region of its own for each script. In a script, "service CONDUCT" says how the region's API behaves from then
// on, "keypairs PREFIX COUNT FILE" imports PREFIX1, PREFIX2, … there, "called N" holds how often it was asked since
// the last "called", "exitcode CODE COMMAND" runs a command that has to end so.
func TestCommandsDoAsTheySay(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   "../../../testdata/script/keypair",
		Setup: newRegion,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"service":  serviceCommand,
			"exitcode": testmachine.ExitCode,
			"mode":     modeCommand,
			"called":   calledCommand,
			"keypairs": keyPairsCommand,
		},
	})
}

// service is a region's API that can be told to behave otherwise.
type service struct {
	region  *keypair.Region
	api     http.Handler
	conduct atomic.Value // string
	calls   atomic.Int64 // of the API, since the last "called"
	arrived chan string  // the action of a request that is held
	done    chan struct{}

	described chan struct{} // DescribeInstances was answered
}

type serviceKey struct{}

// Secrets that no output may have, whatever happens.
const wrongSecret = "a-secret-that-is-not-the-right-one"

func newRegion(env *testscript.Env) error {
	store := memstore.New()
	s := &service{
		arrived: make(chan string, 1), described: make(chan struct{}), done: make(chan struct{}),
	}
	region, err := keypair.Open(context.Background(), store, keypair.Options{ID: "cn-test", Restart: s.restart})
	if err != nil {
		return err
	}
	key, err := region.CreateAccessKey(context.Background(), "")
	if err != nil {
		return err
	}
	if err := addInstances(region); err != nil {
		return err
	}
	s.region, s.api = region, ecsapi.New(region, ecsapi.Options{})
	s.conduct.Store("well")
	server := httptest.NewServer(s)
	env.Defer(func() {
		close(s.done)
		server.Close()
		region.Close()
		_ = store.Close()
	})
	secure, err := serveTLS(env, s)
	if err != nil {
		return err
	}
	steering, err := serveSteering(env, s)
	if err != nil {
		return err
	}
	env.Values[serviceKey{}] = s
	for name, value := range map[string]string{
		"HOME":                            env.WorkDir,
		"ENDPOINT":                        server.URL,
		"ADDRESS":                         server.Listener.Addr().String(),
		"TLS_ADDRESS":                     secure,
		"STEERING_ADDRESS":                steering,
		"KEY_ID":                          key.ID,
		"SECRET":                          key.Secret,
		"WRONG_SECRET":                    wrongSecret,
		"LATCHKEY_ECS_ENDPOINT":           server.URL,
		"ALIBABA_CLOUD_REGION_ID":         region.ID(),
		"ALIBABA_CLOUD_ACCESS_KEY_ID":     key.ID,
		"ALIBABA_CLOUD_ACCESS_KEY_SECRET": key.Secret,
	} {
		env.Setenv(name, value)
	}
	return writeInstanceIDs(filepath.Join(env.WorkDir, "sixty"))
}

// serveTLS serves the same by TLS, with a certificate that the script's authority.pem vouches for, and returns where.
func serveTLS(env *testscript.Env, handler http.Handler) (address string, err error) {
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that hang up on it are what a script is about
	server.StartTLS()
	env.Defer(server.Close)
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	return server.Listener.Addr().String(), os.WriteFile(filepath.Join(env.WorkDir, "authority.pem"), authority, 0o644)
}

// serveSteering serves the same by TLS, with a certificate that nobody vouches for and whose names steer a terminal.
func serveSteering(env *testscript.Env, handler http.Handler) (address string, err error) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"a\x1b]0;pwned\x07b"}, NotAfter: time.Now().Add(time.Hour),
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		return "", err
	}
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: private}}}
	server.StartTLS()
	env.Defer(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	return net.JoinHostPort("localhost", port), err // a name, for the names are what the error shows
}

// addInstances registers what the scripts speak of: i-01 to i-70, one with Windows, one that is Stopped
// and one that never comes back from a restart.
func addInstances(region *keypair.Region) error {
	instances := []keypair.Instance{{ID: "i-windows", OSType: keypair.Windows}, {ID: "i-stopped", Status: keypair.Stopped}, {ID: "i-broken"}}
	for i := range 70 {
		instances = append(instances, keypair.Instance{ID: fmt.Sprintf("i-%02d", i+1), Name: fmt.Sprintf("node%d", i+1)})
	}
	for _, instance := range instances {
		if _, err := region.Register(context.Background(), instance); err != nil {
			return err
		}
	}
	return nil
}

// writeInstanceIDs writes sixty ids, of which one is unknown and one is that of a Windows instance.
func writeInstanceIDs(file string) error {
	var ids []string
	for i := range 58 {
		ids = append(ids, fmt.Sprintf("i-%02d", i+1))
	}
	ids = append(ids[:20:20], append([]string{"i-windows", "i-unknown"}, ids[20:]...)...)
	return os.WriteFile(file, []byte(strings.Join(ids, "\n")+"\n"), 0o644)
}

// restart lasts until it was asked twice what has become of the instances.
func (s *service) restart(ctx context.Context, instance keypair.Instance, _ bool) error {
	for range 2 {
		select {
		case <-s.described:
		case <-ctx.Done():
		}
	}
	if instance.ID == "i-broken" {
		return errors.New("its host is down")
	}
	return nil
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.calls.Add(1)
	conduct, action, _ := strings.Cut(s.conduct.Load().(string), " ")
	if action != "" && r.Header.Get("x-acs-action") != action {
		conduct = "well"
	}
	switch conduct {
	case "well":
		s.api.ServeHTTP(w, r)
		s.tellRestarts(r.Header.Get("x-acs-action"))
	case "hang":
		s.arrived <- r.Header.Get("x-acs-action")
		select {
		case <-r.Context().Done():
		case <-s.done:
		}
	case "slow": // the answer comes once the one who asks has been interrupted
		recorder := httptest.NewRecorder()
		s.api.ServeHTTP(recorder, r)
		s.arrived <- r.Header.Get("x-acs-action")
		select {
		case <-time.After(time.Second):
		case <-s.done:
		}
		_, _ = w.Write(recorder.Body.Bytes())
	case "lose": // done, and the answer lost
		s.api.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	case "wrap": // a private key, and more than that
		recorder := httptest.NewRecorder()
		s.api.ServeHTTP(recorder, r)
		_, _ = io.WriteString(w, strings.Replace(recorder.Body.String(), "-----BEGIN", `\u001b]0;pwned\u0007\n-----BEGIN`, 1))
	case "endless":
		_, _ = io.WriteString(w, `{"TotalCount":1000000000,"KeyPairs":{"KeyPair":[{"KeyPairName":"web"}]}}`)
	case "html":
		_, _ = w.Write([]byte("<html>log in</html>"))
	case "forbid": // like a policy that does not allow the action
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(`{"Code":"Forbidden.RAM","Message":"not authorized","RequestId":"R"}`))
	case "rsa": // like the cloud's own, which knows no other type of key
		s.createRSA(w, r.URL.Query().Get("KeyPairName"))
	}
}

func (s *service) tellRestarts(action string) {
	if action != "DescribeInstances" {
		return
	}
	select {
	case s.described <- struct{}{}:
	default: // none is under way
	}
}

// createRSA makes an RSA key pair, whatever was asked for.
func (s *service) createRSA(w http.ResponseWriter, name string) {
	pair, private, err := s.region.CreateKeyPair(context.Background(), keypair.NewKeyPair{Name: name}, keypair.RSA)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprintf(w, `{"RequestId":"R","KeyPairName":%q,"KeyPairFingerPrint":%q,"PrivateKeyBody":%q}`, name, pair.MD5, private)
}

func serviceCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: service well|hang|slow|lose|wrap|endless|html|forbid|rsa [ACTION] or service awaits ACTION")
	}
	s := ts.Value(serviceKey{}).(*service)
	if args[0] != "awaits" {
		s.conduct.Store(strings.Join(args, " "))
		return
	}
	select {
	case action := <-s.arrived:
		if action != args[1] {
			ts.Fatalf("%s was called", action)
		}
	case <-time.After(20 * time.Second):
		ts.Fatalf("nobody called %s", args[1])
	}
}

// calledCommand holds how often the API was called since it was last asked.
func calledCommand(ts *testscript.TestScript, neg bool, args []string) {
	s := ts.Value(serviceKey{}).(*service)
	if got := strconv.FormatInt(s.calls.Swap(0), 10); neg || len(args) > 1 || len(args) == 1 && args[0] != got {
		ts.Fatalf("the API was called %s times, want %v", got, args)
	}
}

// keyPairsCommand imports a public key many times.
func keyPairsCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: keypairs PREFIX COUNT FILE")
	}
	count, err := strconv.Atoi(args[1])
	ts.Check(err)
	for i := range count {
		pair := keypair.NewKeyPair{Name: fmt.Sprint(args[0], i+1)}
		_, err := ts.Value(serviceKey{}).(*service).region.ImportKeyPair(context.Background(), pair, ts.ReadFile(args[2]))
		ts.Check(err)
	}
}

// modeCommand holds a file's mode.
func modeCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mode MODE FILE")
	}
	info, err := os.Lstat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[0] {
		ts.Fatalf("%s has mode %s, want %s", args[1], got, args[0])
	}
}
