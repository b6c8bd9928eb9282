package ecsclient_test

import (
	"context"
	"errors"
	"iter"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/keypair"
	"github.com/latchkey-ssh/latchkey/keypair/ecsclient"
)

func all[T any](t *testing.T, items iter.Seq2[T, error]) []T {
	t.Helper()
	var got []T
	for item, err := range items {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, item)
	}
	return got
}

func TestAKeyPairLivesAsTheServiceSays(t *testing.T) {
	ctx := context.Background()
	region, options := newRegion(t)
	client := newClient(t, options)
	ids := addInstances(t, region, 2)
	if _, err := region.Register(ctx, keypair.Instance{ID: "i-windows", OSType: keypair.Windows}); err != nil {
		t.Fatal(err)
	}

	tags := []ecsclient.Tag{{Key: "stage", Value: "a & b=ü *~"}, {Key: "team"}}
	created, err := client.CreateKeyPair(ctx, ecsclient.NewKeyPair{Name: "web", Tags: tags, KeyType: "ED25519"})
	if err != nil {
		t.Fatal(err)
	}
	private, err := ssh.ParsePrivateKey(created.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	pairs := all(t, client.KeyPairs(ctx, ecsclient.KeyPairFilter{Name: "w*", PublicKeys: true}))
	want := []ecsclient.KeyPair{{Name: "web", Fingerprint: ssh.FingerprintLegacyMD5(private.PublicKey()), Tags: tags}}
	if diff := cmp.Diff(want, pairs, cmpopts.IgnoreFields(ecsclient.KeyPair{}, "PublicKey", "CreatedAt")); diff != "" {
		t.Errorf("key pairs (-want +got):\n%s", diff)
	}
	public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(pairs[0].PublicKey))
	if err != nil || ssh.FingerprintSHA256(public) != ssh.FingerprintSHA256(private.PublicKey()) || pairs[0].CreatedAt.IsZero() {
		t.Errorf("public key %q of %v: %v", pairs[0].PublicKey, pairs[0].CreatedAt, err)
	}

	outcomes, err := client.AttachKeyPair(ctx, "web", append(ids, "i-windows", "i-nobody"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{
		"i-000": "", "i-001": "", "i-windows": "DependencyViolation.WindowsInstance", "i-nobody": "InvalidInstanceId.NotFound",
	}, codes(outcomes)); diff != "" {
		t.Errorf("outcomes of attach (-want +got):\n%s", diff)
	}
	if err := client.DeleteKeyPairs(ctx, []string{"web"}); !ecsclient.IsCode(err, "InvalidParameter.KeypairAlreadyAttachedInstance") {
		t.Errorf("deleting a bound key pair: %v", err)
	}
	bound := all(t, client.Instances(ctx, ecsclient.InstanceFilter{KeyPairName: "web"}))
	if len(bound) != 2 || bound[0].KeyPairName != "web" || bound[0].Status != "Running" || bound[0].OSType != "linux" {
		t.Errorf("bound instances: %+v", bound)
	}
	if err := client.RebootInstance(ctx, "i-000", true); err != nil {
		t.Error(err)
	}
	if outcomes, err := client.DetachKeyPair(ctx, "web", ids); err != nil || len(codes(outcomes)) != 2 {
		t.Errorf("detach: %v, %v", outcomes, err)
	}
	if err := client.DeleteKeyPairs(ctx, []string{"web"}); err != nil {
		t.Error(err)
	}
	if left := all(t, client.KeyPairs(ctx, ecsclient.KeyPairFilter{})); len(left) != 0 {
		t.Errorf("still there: %v", left)
	}
}

// codes are the errors of outcomes, by instance; "" is none.
func codes(outcomes []ecsclient.Outcome) map[string]string {
	got := map[string]string{}
	for _, outcome := range outcomes {
		var refused *ecsclient.Error
		errors.As(outcome.Err, &refused)
		got[outcome.InstanceID] = ""
		if refused != nil {
			got[outcome.InstanceID] = refused.Code
		}
	}
	return got
}

func TestTagsAreSetAndTaken(t *testing.T) {
	ctx := context.Background()
	_, options := newRegion(t)
	client := newClient(t, options)
	if _, err := client.ImportKeyPair(ctx, ecsclient.NewKeyPair{Name: "web", Tags: []ecsclient.Tag{{Key: "a", Value: "1"}}}, somePublicKey); err != nil {
		t.Fatal(err)
	}
	if err := client.TagKeyPair(ctx, "web", []ecsclient.Tag{{Key: "a", Value: "2"}, {Key: "b", Value: "3"}}); err != nil {
		t.Fatal(err)
	}
	if err := client.UntagKeyPair(ctx, "web", []string{"b"}); err != nil {
		t.Fatal(err)
	}
	pairs := all(t, client.KeyPairs(ctx, ecsclient.KeyPairFilter{Tags: []ecsclient.Tag{{Key: "a", Value: "2"}}}))
	if len(pairs) != 1 || !cmp.Equal(pairs[0].Tags, []ecsclient.Tag{{Key: "a", Value: "2"}}) {
		t.Errorf("found %+v", pairs)
	}
}

func TestEveryPageIsFollowed(t *testing.T) {
	ctx := context.Background()
	region, options := newRegion(t)
	client := newClient(t, options)
	ids := addInstances(t, region, 230)
	names := map[string]bool{}
	for i := range 101 {
		name := "pair" + ids[i]
		if _, err := region.ImportKeyPair(ctx, keypair.NewKeyPair{Name: name}, somePublicKey); err != nil {
			t.Fatal(err)
		}
		names[name] = true
	}
	for _, pair := range all(t, client.KeyPairs(ctx, ecsclient.KeyPairFilter{Name: "*"})) {
		delete(names, pair.Name)
	}
	if len(names) > 0 {
		t.Errorf("not listed: %v", names)
	}
	var got []string
	for _, instance := range all(t, client.Instances(ctx, ecsclient.InstanceFilter{})) {
		got = append(got, instance.ID)
	}
	if diff := cmp.Diff(ids, got, cmpopts.SortSlices(func(a, b string) bool { return a < b })); diff != "" {
		t.Errorf("instances (-want +got):\n%s", diff)
	}
}

func TestARefusalSaysWhatTheServiceSays(t *testing.T) {
	ctx := context.Background()
	region, options := newRegion(t)
	key, err := region.CreateAccessKey(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := region.EnableAccessKey(ctx, key.ID, false); err != nil {
		t.Fatal(err)
	}
	with := func(change func(*ecsclient.Options)) func() error {
		o := options
		change(&o)
		return func() error { return newClient(t, o).RebootInstance(ctx, "i-1", false) }
	}
	good := newClient(t, options)
	tests := map[string]struct {
		call   func() error
		code   string
		status int
	}{
		"unknown key pair": {
			func() error { _, err := good.AttachKeyPair(ctx, "none", []string{"i-1"}); return err },
			"InvalidKeyPairName.NotFound", 400,
		},
		"malformed name": {
			func() error { _, err := good.CreateKeyPair(ctx, ecsclient.NewKeyPair{Name: "-"}); return err },
			"InvalidKeyPairName.Malformed", 400,
		},
		"wrong secret": {
			with(func(o *ecsclient.Options) { o.Credentials.AccessKeySecret += "x" }), "SignatureDoesNotMatch", 400,
		},
		"unknown access key": {
			with(func(o *ecsclient.Options) { o.Credentials.AccessKeyID += "x" }), "InvalidAccessKeyId.NotFound", 404,
		},
		"disabled access key": {
			with(func(o *ecsclient.Options) {
				o.Credentials = ecsclient.Credentials{AccessKeyID: key.ID, AccessKeySecret: key.Secret}
			}),
			"InvalidAccessKeyId.Inactive", 400,
		},
		"another region": {
			with(func(o *ecsclient.Options) { o.Region = "cn-other" }), "InvalidRegionId.NotFound", 404,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var refused *ecsclient.Error
			if err := test.call(); !errors.As(err, &refused) || refused.Code != test.code || refused.HTTPStatus != test.status ||
				refused.Message == "" || len(refused.RequestID) != 36 {
				t.Errorf("got %#v, want %s with HTTP %d", err, test.code, test.status)
			}
		})
	}
}
