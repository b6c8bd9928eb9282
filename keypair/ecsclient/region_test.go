package ecsclient_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/latchkey-ssh/latchkey/keypair"
	"github.com/latchkey-ssh/latchkey/keypair/ecsapi"
	"github.com/latchkey-ssh/latchkey/keypair/ecsclient"
	"github.com/latchkey-ssh/latchkey/keypair/memstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newRegion is a region with an access key, its API behind a real listener.
func newRegion(t *testing.T) (*keypair.Region, ecsclient.Options) {
	t.Helper()
	store := memstore.New()
	region, err := keypair.Open(context.Background(), store, keypair.Options{ID: "cn-test"})
	if err != nil {
		t.Fatal(err)
	}
	key, err := region.CreateAccessKey(context.Background(), "")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(ecsapi.New(region, ecsapi.Options{}))
	t.Cleanup(func() {
		server.Close()
		region.Close()
		_ = store.Close()
	})
	return region, ecsclient.Options{
		Region: "cn-test", Endpoint: server.URL, HTTP: newHTTP(t),
		Credentials: ecsclient.Credentials{AccessKeyID: key.ID, AccessKeySecret: key.Secret},
	}
}

// newHTTP is a client whose connections end with the test.
func newHTTP(t *testing.T) *http.Client {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: ecsclient.DefaultTimeout}
}

func newClient(t *testing.T, o ecsclient.Options) *ecsclient.Client {
	t.Helper()
	client, err := ecsclient.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// serve is a client of a service that answers like this.
func serve(t *testing.T, handler http.HandlerFunc) *ecsclient.Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return newClient(t, ecsclient.Options{
		Region: "cn-test", Endpoint: server.URL, HTTP: newHTTP(t), Credentials: someCredentials,
	})
}

var someCredentials = ecsclient.Credentials{AccessKeyID: "LTAIid", AccessKeySecret: "the-secret", SecurityToken: "the-token"}

// addInstances registers Linux instances i-000, i-001, …
func addInstances(t *testing.T, region *keypair.Region, n int) []string {
	t.Helper()
	var ids []string
	for i := range n {
		id := fmt.Sprintf("i-%03d", i)
		if _, err := region.Register(context.Background(), keypair.Instance{ID: id}); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

// somePublicKey is a key that nobody has the other half of.
var somePublicKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + strings.Repeat("B", 43) + " nobody"
