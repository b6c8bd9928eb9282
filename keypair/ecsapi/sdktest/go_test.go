package sdktest

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aliyun/alibaba-cloud-sdk-go/sdk"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/auth/credentials"
	sdkerrors "github.com/aliyun/alibaba-cloud-sdk-go/sdk/errors"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/requests"
	"github.com/aliyun/alibaba-cloud-sdk-go/services/ecs"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"
)

// client is the official SDK, told nothing but where the region is and who calls.
func client(t *testing.T, k keypaird, secret string) *ecs.Client {
	t.Helper()
	c, err := ecs.NewClientWithOptions(region, sdk.NewConfig().WithScheme("HTTP"),
		credentials.NewAccessKeyCredential(k.AccessKey.ID, secret))
	if err != nil {
		t.Fatal(err)
	}
	c.Domain = k.host(t)
	return c
}

func must[T any](response T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return response
	}
}

// refused checks how the SDK tells an error.
func refused(t *testing.T, err error, status int, code string) {
	t.Helper()
	var server *sdkerrors.ServerError
	if !errors.As(err, &server) {
		t.Errorf("error %v, want %s", err, code)
		return
	}
	if server.HttpStatus() != status || server.ErrorCode() != code || server.RequestId() == "" || server.Message() == "" {
		t.Errorf("error %v\nwant %d %s", err, status, code)
	}
}

// TestGoLife is a key pair's whole life.
func TestGoLife(t *testing.T) {
	k := start(t)
	c := client(t, k, k.AccessKey.Secret)
	line := goCreate(t, c)

	imported := ecs.CreateImportKeyPairRequest()
	imported.KeyPairName, imported.PublicKeyBody = "go-imported", line+" a comment"
	imported.Tag = &[]ecs.ImportKeyPairTag{{Key: "owner", Value: "bob"}}
	got := must(c.ImportKeyPair(imported))(t)
	if got.KeyPairName != "go-imported" || got.KeyPairFingerPrint == "" {
		t.Errorf("imported %+v", got)
	}

	goDescribe(t, c)
	goBind(t, c)
	goReboot(t, c)
	goTags(t, c)
	goDelete(t, c)
}

// goCreate makes a key pair and returns its public key, which the private one has to fit.
func goCreate(t *testing.T, c *ecs.Client) string {
	t.Helper()
	create := ecs.CreateCreateKeyPairRequest()
	create.KeyPairName = "go-created"
	create.Tag = &[]ecs.CreateKeyPairTag{{Key: "owner", Value: "alice"}, {Key: "env", Value: "a b+c*/中"}}
	created := must(c.CreateKeyPair(create))(t)
	signer, err := ssh.ParsePrivateKey([]byte(created.PrivateKeyBody))
	if err != nil || signer.PublicKey().Type() != ssh.KeyAlgoRSA {
		t.Fatalf("private key: %v", err)
	}
	if !regexp.MustCompile(`^ssh-[a-z0-9]{16,20}$`).MatchString(created.KeyPairId) {
		t.Errorf("KeyPairId %q", created.KeyPairId)
	}
	if want := ssh.FingerprintLegacyMD5(signer.PublicKey()); created.KeyPairFingerPrint != want {
		t.Errorf("fingerprint %s, want %s", created.KeyPairFingerPrint, want)
	}
	describe := ecs.CreateDescribeKeyPairsRequest()
	describe.KeyPairName, describe.IncludePublicKey = "go-created", requests.NewBoolean(true)
	pair := must(c.DescribeKeyPairs(describe))(t).KeyPairs.KeyPair[0]
	public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(pair.PublicKey))
	if err != nil || string(public.Marshal()) != string(signer.PublicKey().Marshal()) {
		t.Fatalf("public key %q (%v) is not that of the private key", pair.PublicKey, err)
	}
	if _, err := time.Parse("2006-01-02T15:04Z", pair.CreationTime); err != nil {
		t.Error(err)
	}
	want := []ecs.Tag{{TagKey: "env", TagValue: "a b+c*/中"}, {TagKey: "owner", TagValue: "alice"}}
	if diff := cmp.Diff(want, pair.Tags.Tag); diff != "" {
		t.Error(diff)
	}
	return pair.PublicKey
}

func goDescribe(t *testing.T, c *ecs.Client) {
	t.Helper()
	find := func(change func(*ecs.DescribeKeyPairsRequest)) (names string, total int) {
		r := ecs.CreateDescribeKeyPairsRequest()
		change(r)
		response := must(c.DescribeKeyPairs(r))(t)
		var found []string
		for _, pair := range response.KeyPairs.KeyPair {
			found = append(found, pair.KeyPairName)
			if pair.PublicKey != "" {
				t.Errorf("%s: the public key is told unasked", pair.KeyPairName)
			}
		}
		return strings.Join(found, " "), response.TotalCount
	}
	tests := []struct {
		name   string
		change func(*ecs.DescribeKeyPairsRequest)
		want   string
		total  int
	}{
		{"all", func(*ecs.DescribeKeyPairsRequest) {}, "go-created go-imported", 2},
		{"wildcard", func(r *ecs.DescribeKeyPairsRequest) { r.KeyPairName = "*imp*" }, "go-imported", 1},
		{"tag", func(r *ecs.DescribeKeyPairsRequest) {
			r.Tag = &[]ecs.DescribeKeyPairsTag{{Key: "owner", Value: "alice"}}
		}, "go-created", 1},
		{"page", func(r *ecs.DescribeKeyPairsRequest) {
			r.PageSize, r.PageNumber = requests.NewInteger(1), requests.NewInteger(2)
		}, "go-imported", 2},
		{"none", func(r *ecs.DescribeKeyPairsRequest) { r.KeyPairName = "none" }, "", 0},
	}
	for _, test := range tests {
		if names, total := find(test.change); names != test.want || total != test.total {
			t.Errorf("%s: %q of %d, want %q of %d", test.name, names, total, test.want, test.total)
		}
	}
}

// goBind binds a pair to several, with one that takes none and one that is not there, and then another.
func goBind(t *testing.T, c *ecs.Client) {
	t.Helper()
	attach := ecs.CreateAttachKeyPairRequest()
	attach.KeyPairName, attach.InstanceIds = "go-created", fmt.Sprintf("[%q,%q,%q,%q]", first, second, windows, unknown)
	attached := must(c.AttachKeyPair(attach))(t)
	var outcomes []string
	for _, r := range attached.Results.Result {
		outcomes = append(outcomes, r.InstanceId+" "+r.Success+" "+r.Code)
	}
	want := []string{
		first + " true 200", second + " true 200",
		windows + " false DependencyViolation.WindowsInstance", unknown + " false InvalidInstanceId.NotFound",
	}
	if diff := cmp.Diff(want, outcomes); diff != "" || attached.TotalCount != "4" || attached.FailCount != "2" {
		t.Errorf("%s failed of %s\n%s", attached.FailCount, attached.TotalCount, diff)
	}
	attach.KeyPairName, attach.InstanceIds = "go-imported", fmt.Sprintf("[%q]", second)
	must(c.AttachKeyPair(attach))(t)
	if diff := cmp.Diff(map[string]string{first: "go-created", second: "go-imported", windows: ""}, goBound(t, c)); diff != "" {
		t.Error(diff)
	}
}

func goBound(t *testing.T, c *ecs.Client) map[string]string {
	t.Helper()
	bound := map[string]string{}
	for _, i := range must(c.DescribeInstances(ecs.CreateDescribeInstancesRequest()))(t).Instances.Instance {
		bound[i.InstanceId] = i.KeyPairName
		if i.MetadataOptions.HttpTokens != "optional" || i.MetadataOptions.HttpPutResponseHopLimit != 1 {
			t.Errorf("%s: metadata options %+v", i.InstanceId, i.MetadataOptions)
		}
	}
	return bound
}

func goReboot(t *testing.T, c *ecs.Client) {
	t.Helper()
	reboot := ecs.CreateRebootInstanceRequest()
	reboot.InstanceId = first
	must(c.RebootInstance(reboot))(t)
	attribute := ecs.CreateDescribeInstanceAttributeRequest()
	attribute.InstanceId = first
	for deadline := time.Now().Add(10 * time.Second); ; {
		if must(c.DescribeInstanceAttribute(attribute))(t).Status == "Running" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the instance does not run again")
		}
	}
	several := ecs.CreateRebootInstancesRequest()
	several.InstanceId = &[]string{first, second}
	responses := must(c.RebootInstances(several))(t).InstanceResponses.InstanceResponse
	if len(responses) != 2 || responses[0].Code != "200" || responses[1].CurrentStatus != "Starting" {
		t.Errorf("rebooted %+v", responses)
	}
}

func goTags(t *testing.T, c *ecs.Client) {
	t.Helper()
	tag := ecs.CreateTagResourcesRequest()
	tag.ResourceType, tag.ResourceId = "keypair", &[]string{"go-imported"}
	tag.Tag = &[]ecs.TagResourcesTag{{Key: "env", Value: "prod"}}
	must(c.TagResources(tag))(t)
	untag := ecs.CreateUntagResourcesRequest()
	untag.ResourceType, untag.ResourceId, untag.TagKey = "keypair", &[]string{"go-imported"}, &[]string{"owner"}
	must(c.UntagResources(untag))(t)
	list := ecs.CreateListTagResourcesRequest()
	list.ResourceType, list.ResourceId = "keypair", &[]string{"go-imported"}
	want := []ecs.TagResource{{ResourceType: "keypair", ResourceId: "go-imported", TagKey: "env", TagValue: "prod"}}
	if diff := cmp.Diff(want, must(c.ListTagResources(list))(t).TagResources.TagResource); diff != "" {
		t.Error(diff)
	}
}

func goDelete(t *testing.T, c *ecs.Client) {
	t.Helper()
	remove := ecs.CreateDeleteKeyPairsRequest()
	remove.KeyPairNames = `["go-created","go-imported"]`
	_, err := c.DeleteKeyPairs(remove)
	refused(t, err, 400, "InvalidParameter.KeypairAlreadyAttachedInstance")
	for name, instance := range map[string]string{"go-created": first, "go-imported": second} {
		detach := ecs.CreateDetachKeyPairRequest()
		detach.KeyPairName, detach.InstanceIds = name, fmt.Sprintf("[%q]", instance)
		if detached := must(c.DetachKeyPair(detach))(t); detached.FailCount != "0" || detached.TotalCount != "1" {
			t.Errorf("detached %+v", detached)
		}
	}
	must(c.DeleteKeyPairs(remove))(t)
	if left := must(c.DescribeKeyPairs(ecs.CreateDescribeKeyPairsRequest()))(t); left.TotalCount != 0 {
		t.Errorf("%d are left", left.TotalCount)
	}
	_, err = c.DeleteKeyPairs(remove)
	refused(t, err, 404, "InvalidKeyPair.NotFound")
}

// TestGoErrors: the SDK has the status, the code and the request's id, and its own advice about a wrong secret.
func TestGoErrors(t *testing.T) {
	k := start(t)
	c := client(t, k, k.AccessKey.Secret)
	create := ecs.CreateCreateKeyPairRequest()
	_, err := c.CreateKeyPair(create)
	refused(t, err, 400, "MissingParameter")
	create.KeyPairName = "1"
	_, err = c.CreateKeyPair(create)
	refused(t, err, 400, "InvalidKeyPairName.Malformed")
	elsewhere := ecs.CreateCreateKeyPairRequest()
	elsewhere.KeyPairName, elsewhere.RegionId = "fine", "cn-other"
	_, err = c.CreateKeyPair(elsewhere)
	refused(t, err, 404, "InvalidRegionId.NotFound")

	imported := ecs.CreateImportKeyPairRequest()
	imported.KeyPairName, imported.PublicKeyBody = "fine", "no key"
	_, err = c.ImportKeyPair(imported)
	refused(t, err, 400, "InvalidPublicKeyBody.Malformed")

	attach := ecs.CreateAttachKeyPairRequest()
	attach.KeyPairName, attach.InstanceIds = "none", `["i-a"]`
	_, err = c.AttachKeyPair(attach)
	refused(t, err, 400, "InvalidKeyPairName.NotFound")

	_, err = c.DescribeZones(ecs.CreateDescribeZonesRequest())
	refused(t, err, 404, "InvalidAction.NotFound")

	_, err = client(t, k, "wrong").DescribeKeyPairs(ecs.CreateDescribeKeyPairsRequest())
	refused(t, err, 400, "SignatureDoesNotMatch")
	if !strings.Contains(err.Error(), "InvalidAccessKeySecret") {
		t.Errorf("the SDK does not see that the secret is wrong:\n%v", err)
	}
	k.AccessKey.ID = "LTAInobody"
	_, err = client(t, k, "wrong").DescribeKeyPairs(ecs.CreateDescribeKeyPairsRequest())
	refused(t, err, 404, "InvalidAccessKeyId.NotFound")
}
