package manage_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/latchkey-ssh/latchkey/keypair"
	"github.com/latchkey-ssh/latchkey/keypair/imds"
	"github.com/latchkey-ssh/latchkey/keypair/manage"
	"github.com/latchkey-ssh/latchkey/keypair/memstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// region is one with its management on a socket.
type region struct {
	*keypair.Region
	metadata *imds.Service
	socket   string
	client   *manage.Client
}

func newRegion(t *testing.T) *region {
	t.Helper()
	store := memstore.New()
	r, err := keypair.Open(t.Context(), store, keypair.Options{})
	if err != nil {
		t.Fatal(err)
	}
	metadata := imds.NewService(imds.Options{})
	socket := filepath.Join(t.TempDir(), "manage.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: manage.NewHandler(r, metadata, slog.New(slog.DiscardHandler))}}
	server.Start()
	t.Cleanup(func() {
		server.Close()
		metadata.Close()
		r.Close()
		_ = store.Close()
	})
	return &region{r, metadata, socket, manage.NewClient(socket)}
}

func check(t *testing.T, got, want any, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestInstancesComeChangeAndGo(t *testing.T) {
	r := newRegion(t)
	known, err := r.client.Register(t.Context(), keypair.Instance{ID: "i-a", Addresses: []netip.Addr{netip.MustParseAddr("192.168.0.7")}})
	if err != nil || known.Status != keypair.Running || known.OSType != keypair.Linux {
		t.Fatalf("registered %+v, %v", known, err)
	}
	listed, err := r.client.Instances(t.Context())
	check(t, listed, []manage.Instance{{Instance: known}}, err)
	known.LoginUser = "ops"
	changed, err := r.client.Change(t.Context(), known)
	check(t, changed, known, err)
	if err := r.client.SetStatus(t.Context(), "i-a", keypair.Stopped); err != nil {
		t.Error(err)
	}
	now, err := r.Instance(t.Context(), "i-a")
	check(t, now.Status, keypair.Stopped, err)
	if err := r.client.Remove(t.Context(), "i-a"); err != nil {
		t.Error(err)
	}
	listed, err = r.client.Instances(t.Context())
	check(t, listed, []manage.Instance{}, err)
}

func TestAccessKeysShowTheirSecretOnce(t *testing.T) {
	r := newRegion(t)
	made, err := r.client.CreateAccessKey(t.Context(), "ci")
	if err != nil || len(made.Secret) < 24 {
		t.Fatalf("made one with a secret of %d characters, %v", len(made.Secret), err)
	}
	want := made
	want.Secret = ""
	listed, err := r.client.AccessKeys(t.Context())
	check(t, listed, []keypair.AccessKey{want}, err)
	if err := r.client.EnableAccessKey(t.Context(), made.ID, false); err != nil {
		t.Error(err)
	}
	if key, err := r.AccessKey(t.Context(), made.ID); err != nil || !key.Disabled || key.Secret != made.Secret {
		t.Errorf("disabled: %v, %v; or its secret was changed", key.Disabled, err)
	}
	if err := r.client.DeleteAccessKey(t.Context(), made.ID); err != nil {
		t.Error(err)
	}
	if _, err := r.AccessKey(t.Context(), made.ID); !errors.Is(err, keypair.ErrAccessKeyNotFound) {
		t.Errorf("deleted: %v", err)
	}
}

func TestResourceGroupsAreAddedAndRenamed(t *testing.T) {
	r := newRegion(t)
	for _, name := range []string{"web", "web team"} {
		if err := r.client.AddResourceGroup(t.Context(), keypair.ResourceGroup{ID: "rg-web", Name: name}); err != nil {
			t.Error(err)
		}
	}
	groups, err := r.client.ResourceGroups(t.Context())
	check(t, groups, []keypair.ResourceGroup{{ID: "rg-web", Name: "web team"}}, err)
	err = r.client.RemoveResourceGroup(t.Context(), "rg-web")
	groups, err2 := r.client.ResourceGroups(t.Context())
	check(t, groups, []keypair.ResourceGroup{}, errors.Join(err, err2))
}

func TestMisbehaviourIsTheMetadataEndpointsAndEnds(t *testing.T) {
	r := newRegion(t)
	if _, err := r.client.Register(t.Context(), keypair.Instance{ID: "i-a"}); err != nil {
		t.Fatal(err)
	}
	if err := r.metadata.Set(imds.Instance{ID: "i-a"}); err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[string]int{"error-500": 500, "none": 200} {
		if err := r.client.Misbehave(t.Context(), "i-a", kind, "instance-id"); err != nil {
			t.Error(err)
		}
		answer := httptest.NewRecorder()
		r.metadata.For("i-a").ServeHTTP(answer, httptest.NewRequest("GET", "/latest/meta-data/instance-id", nil))
		check(t, answer.Code, want, nil)
		listed, err := r.client.Instances(t.Context())
		check(t, len(listed), 1, err)
		check(t, listed[0].Misbehaviour, map[string]imds.Misbehaviour{"error-500": imds.Error500}[kind], nil)
	}
}

func TestWhatIsRefusedSaysWhyAndChangesNothing(t *testing.T) {
	r := newRegion(t)
	if _, err := r.client.Register(t.Context(), keypair.Instance{ID: "i-a"}); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	register := func(i keypair.Instance) error {
		_, err := r.client.Register(ctx, i)
		return err
	}
	tests := map[string]struct {
		err  error
		want string
	}{
		"an instance twice":           {register(keypair.Instance{ID: "i-a"}), "exists"},
		"no instance id":              {register(keypair.Instance{ID: "web1"}), "id: want i-"},
		"an unknown system":           {register(keypair.Instance{ID: "i-b", OSType: "plan9"}), "os_type: want linux or windows"},
		"a user of two lines":         {register(keypair.Instance{ID: "i-b", LoginUser: "a\nb"}), "login_user: want a user name"},
		"a status that is none":       {r.client.SetStatus(ctx, "i-a", "Asleep"), "status: want Pending"},
		"the status of nobody":        {r.client.SetStatus(ctx, "i-x", keypair.Running), "no instance"},
		"the end of nobody":           {r.client.Remove(ctx, "i-x"), "no instance"},
		"a change of nobody":          {change(ctx, r.client, keypair.Instance{ID: "i-x"}), "no instance"},
		"the end of no group":         {r.client.RemoveResourceGroup(ctx, "rg-x"), "no resource group"},
		"a path for an id":            {r.client.Remove(ctx, "../access-keys"), "no instance"},
		"a misbehaviour that is none": {r.client.Misbehave(ctx, "i-a", "sulk"), "want one of"},
		"misbehaviour of nobody":      {r.client.Misbehave(ctx, "i-x", "timeout"), "no instance"},
		"an access key of nobody":     {r.client.DeleteAccessKey(ctx, "LTAIx"), "no access key"},
		"a group that is none":        {r.client.AddResourceGroup(ctx, keypair.ResourceGroup{ID: "web"}), "want rg-"},
		"a comment of two lines":      {createAccessKey(ctx, r.client, "a\nb"), "on one line"},
	}
	for name, test := range tests {
		if test.err == nil || !strings.Contains(test.err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, test.err, test.want)
		}
	}
	instances, err := r.Instances(ctx, keypair.InstanceFilter{})
	check(t, len(instances), 1, err)
	keys, err := r.AccessKeys(ctx)
	check(t, len(keys), 0, err)
}

func change(ctx context.Context, c *manage.Client, instance keypair.Instance) error {
	_, err := c.Change(ctx, instance)
	return err
}

func createAccessKey(ctx context.Context, c *manage.Client, comment string) error {
	_, err := c.CreateAccessKey(ctx, comment)
	return err
}

func TestBodiesAreOfKnownFieldsAndBounded(t *testing.T) {
	r := newRegion(t)
	for name, body := range map[string]string{
		"an unknown field": `{"id": "i-b", "colour": "red"}`,
		"no JSON":          `id=i-b`,
		"a large body":     `{"id": "i-b", "name": "` + strings.Repeat("x", 1<<20) + `"}`,
	} {
		answer := httptest.NewRecorder()
		request := httptest.NewRequest("POST", "/instances", strings.NewReader(body))
		manage.NewHandler(r.Region, r.metadata, slog.New(slog.DiscardHandler)).ServeHTTP(answer, request)
		if answer.Code != http.StatusBadRequest || !strings.Contains(answer.Body.String(), `"error"`) {
			t.Errorf("%s: %d %s", name, answer.Code, answer.Body)
		}
	}
}

func TestNobodyListeningNamesTheSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "none.sock")
	_, err := manage.NewClient(socket).Instances(t.Context())
	if err == nil || !strings.Contains(err.Error(), socket) {
		t.Errorf("got %v", err)
	}
}
