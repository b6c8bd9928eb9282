package ecsapi

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/keypair"
	"github.com/latchkey-ssh/latchkey/keypair/memstore"
)

func result(id, success, code, message string) any {
	return map[string]any{"InstanceId": id, "Success": success, "Code": code, "Message": message}
}

// TestPartlyDone: what fails for one instance is told of that one, in texts, and the others are done.
func TestPartlyDone(t *testing.T) {
	w := newWorld(t)
	w.must("ImportKeyPair", "KeyPairName", "partly", "PublicKeyBody", ed25519Line)
	ids := fmt.Sprintf(`[%q,%q,%q,%q,%q]`, linux, windows, unknown, linux, "../x")
	const noInstance = "The specified InstanceId does not exist."
	for _, action := range []string{"AttachKeyPair", "DetachKeyPair"} {
		body := w.must(action, "KeyPairName", "partly", "InstanceIds", ids)
		delete(body, "RequestId")
		rows := []any{
			result(linux, "true", "200", "successful"),
			result(windows, "false", "DependencyViolation.WindowsInstance", "The instance creating is windows, cannot use ssh key pair to login"),
			result(unknown, "false", "InvalidInstanceId.NotFound", noInstance),
			result("../x", "false", "InvalidInstanceId.NotFound", noInstance),
		}
		failed := "3"
		if action == "DetachKeyPair" { // a Windows instance has no key pair: there is nothing to do
			rows[1], failed = result(windows, "true", "200", "successful"), "2"
		}
		want := map[string]any{
			"KeyPairName": "partly", "TotalCount": "4", "FailCount": failed, "Results": map[string]any{"Result": rows},
		}
		if diff := cmp.Diff(want, body); diff != "" {
			t.Errorf("%s: %s", action, diff)
		}
	}
}

func (w *world) keyOf(id string) any {
	w.t.Helper()
	return w.instances("InstanceIds", `["`+id+`"]`)[0]["KeyPairName"]
}

func (w *world) instances(pairs ...string) []map[string]any {
	w.t.Helper()
	var instances []map[string]any
	for _, i := range w.must("DescribeInstances", pairs...)["Instances"].(map[string]any)["Instance"].([]any) {
		instances = append(instances, i.(map[string]any))
	}
	return instances
}

// TestLastBoundWins, is seen at once, and detaching another pair leaves it.
func TestLastBoundWins(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"first", "second"} {
		w.must("ImportKeyPair", "KeyPairName", name, "PublicKeyBody", ed25519Line)
	}
	ids := `["` + linux + `"]`
	for _, step := range []struct{ action, name, want string }{
		{"AttachKeyPair", "first", "first"},
		{"AttachKeyPair", "second", "second"},
		{"DetachKeyPair", "first", "second"},
		{"DetachKeyPair", "second", ""},
		{"DetachKeyPair", "second", ""},
	} {
		if body := w.must(step.action, "KeyPairName", step.name, "InstanceIds", ids); body["FailCount"] != "0" {
			t.Errorf("%s %s: %v", step.action, step.name, body)
		}
		if got := w.keyOf(linux); got != step.want {
			t.Errorf("after %s %s: %v is bound", step.action, step.name, got)
		}
	}
}

func TestFiftyInstancesAtOnce(t *testing.T) {
	w := newWorld(t)
	w.must("ImportKeyPair", "KeyPairName", "many", "PublicKeyBody", ed25519Line)
	for i := range 50 {
		if _, err := w.region.Register(t.Context(), keypair.Instance{ID: fmt.Sprint("i-many-", i)}); err != nil {
			t.Fatal(err)
		}
	}
	body := w.must("AttachKeyPair", "KeyPairName", "many", "InstanceIds", array("i-many-", 50))
	if body["TotalCount"] != "50" || body["FailCount"] != "0" {
		t.Errorf("%v of %v failed", body["FailCount"], body["TotalCount"])
	}
	if n := w.must("DescribeInstances", "KeyPairName", "many", "PageSize", "100")["TotalCount"]; n != 50.0 {
		t.Errorf("%v are bound", n)
	}
}

func TestInstancesAreDescribedInTheirShape(t *testing.T) {
	w := newWorld(t)
	registered, err := w.region.Register(t.Context(), keypair.Instance{
		ID: "i-shape", Name: "shape", HostName: "host", Type: "ecs.g7.large", ImageID: "debian_12", ZoneID: "cn-test-a",
		OSName: "Debian 12", LoginUser: "ecs-user", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.7")}, SerialNumber: "s-1",
	})
	if err != nil {
		t.Fatal(err)
	}
	shared := map[string]any{
		"InstanceId": "i-shape", "InstanceName": "shape", "HostName": "host", "InstanceType": "ecs.g7.large", "ImageId": "debian_12",
		"SerialNumber": "s-1", "RegionId": "cn-test", "ZoneId": "cn-test-a", "Status": "Running", "KeyPairName": "",
		"CreationTime":  registered.CreatedAt.Format("2006-01-02T15:04Z"),
		"VpcAttributes": map[string]any{"PrivateIpAddress": map[string]any{"IpAddress": []any{"10.0.0.7"}}},
	}
	attribute := w.must("DescribeInstanceAttribute", "InstanceId", "i-shape")
	delete(attribute, "RequestId")
	if diff := cmp.Diff(shared, attribute); diff != "" {
		t.Error(diff)
	}
	shared["OSType"], shared["OSName"] = "linux", "Debian 12"
	shared["MetadataOptions"] = map[string]any{"HttpEndpoint": "enabled", "HttpTokens": "optional", "HttpPutResponseHopLimit": 1.0}
	shared["ImageOptions"] = map[string]any{"LoginAsNonRoot": true}
	body := w.must("DescribeInstances", "InstanceIds", `["i-shape","i-shape","`+unknown+`"]`)
	delete(body, "RequestId")
	want := map[string]any{
		"PageNumber": 1.0, "PageSize": 10.0, "TotalCount": 1.0, "NextToken": "",
		"Instances": map[string]any{"Instance": []any{shared}},
	}
	if diff := cmp.Diff(want, body); diff != "" {
		t.Error(diff)
	}
	none := w.must("DescribeInstances", "Status", "Stopped")
	if diff := cmp.Diff(map[string]any{"Instance": []any{}}, none["Instances"]); diff != "" {
		t.Error(diff)
	}
}

// TestLoginIsNonRootOnlyWhereAUserIsNamed who is not root: without one the image decides, and that is root mostly.
func TestLoginIsNonRootOnlyWhereAUserIsNamed(t *testing.T) {
	w := newWorld(t)
	for user, want := range map[string]bool{"": false, "root": false, "ecs-user": true} {
		id := "i-user-" + user
		if _, err := w.region.Register(t.Context(), keypair.Instance{ID: id, LoginUser: user}); err != nil {
			t.Fatal(err)
		}
		got := w.instances("InstanceIds", `["`+id+`"]`)[0]["ImageOptions"]
		if diff := cmp.Diff(any(map[string]any{"LoginAsNonRoot": want}), got); diff != "" {
			t.Errorf("login user %q: %s", user, diff)
		}
	}
}

// TestRebootIsStartingUntilItRuns, and is refused meanwhile.
func TestRebootIsStartingUntilItRuns(t *testing.T) {
	w := newWorld(t)
	release := make(chan bool)
	forced := make(chan bool, 8)
	w.restarting(func(ctx context.Context, _ keypair.Instance, force bool) error {
		forced <- force
		select {
		case <-release:
		case <-ctx.Done():
		}
		return nil
	})
	w.must("RebootInstance", "InstanceId", linux, "ForceStop", "true", "RegionId", "")
	if !<-forced || w.instances("InstanceIds", `["`+linux+`"]`)[0]["Status"] != "Starting" {
		t.Error("the instance is not being restarted by force")
	}
	w.refused(403, "IncorrectInstanceStatus", "The current status of the resource does not support this operation.",
		params("RebootInstance", "InstanceId", linux))

	body := w.must("RebootInstances", "InstanceId.1", linux, "InstanceId.3", linux2, "InstanceId.4", linux2, "InstanceId.5", unknown, "BatchOptimization", "SuccessFirst")
	row := func(id, code, message, previous, current string) any {
		return map[string]any{"InstanceId": id, "Code": code, "Message": message, "PreviousStatus": previous, "CurrentStatus": current}
	}
	want := map[string]any{"InstanceResponse": []any{
		row(linux, "IncorrectInstanceStatus", "The current status of the resource does not support this operation.", "Starting", "Starting"),
		row(linux2, "200", "success", "Running", "Starting"),
		row(unknown, "InvalidInstanceId.NotFound", "The specified InstanceId does not exist.", "", ""),
	}}
	if diff := cmp.Diff(want, body["InstanceResponses"]); diff != "" {
		t.Error(diff)
	}
	if <-forced {
		t.Error("restarted by force unasked")
	}
	close(release)
	w.eventually("all run", func() bool { return len(w.instances("Status", "Running")) == 3 })
}

// restarting gives the world a region whose instances are restarted so.
func (w *world) restarting(restart func(context.Context, keypair.Instance, bool) error) {
	w.t.Helper()
	store := memstore.New()
	region, err := keypair.Open(w.t.Context(), store, keypair.Options{ID: "cn-test", Restart: restart})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.(*testing.T).Cleanup(func() {
		region.Close()
		_ = store.Close()
	})
	for _, id := range []string{linux, linux2, "i-third"} {
		if _, err := region.Register(w.t.Context(), keypair.Instance{ID: id}); err != nil {
			w.t.Fatal(err)
		}
	}
	if w.key, err = region.CreateAccessKey(w.t.Context(), ""); err != nil {
		w.t.Fatal(err)
	}
	w.region, w.api = region, New(region, Options{})
}

func (w *world) eventually(what string, is func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); {
		if time.Now().After(deadline) {
			w.t.Fatalf("never: %s", what)
		}
	}
}

func TestTagsComeAndGo(t *testing.T) {
	w := newWorld(t)
	id := w.must("CreateKeyPair", "KeyPairName", "tagged", "KeyType", "ED25519", "Tag.1.Key", "old", "Tag.1.Value", "1")["KeyPairId"].(string)
	w.must("ImportKeyPair", "KeyPairName", "other", "PublicKeyBody", ed25519Line)
	list := func(pairs ...string) string {
		var rows []string
		body := w.must("ListTagResources", append([]string{"ResourceType", "keypair"}, pairs...)...)
		if body["NextToken"] != "" {
			t.Errorf("NextToken %v", body["NextToken"])
		}
		for _, row := range body["TagResources"].(map[string]any)["TagResource"].([]any) {
			r := row.(map[string]any)
			rows = append(rows, strings.Join([]string{r["ResourceType"].(string), r["ResourceId"].(string), r["TagKey"].(string), r["TagValue"].(string)}, "/"))
		}
		return strings.Join(rows, " ")
	}
	w.must("TagResources", "ResourceType", "keypair", "ResourceId.1", id, "ResourceId.2", "other", "Tag.1.Key", "new", "Tag.1.Value", "2")
	for _, test := range []struct{ got, want string }{
		{list("ResourceId.1", "tagged", "ResourceId.2", "none"), "keypair/tagged/new/2 keypair/tagged/old/1"},
		{list("ResourceId.1", id), "keypair/" + id + "/new/2 keypair/" + id + "/old/1"},
		{list("Tag.1.Key", "new"), "keypair/tagged/new/2 keypair/tagged/old/1 keypair/other/new/2"},
		{list("ResourceId.1", "none"), ""},
	} {
		if diff := cmp.Diff(test.want, test.got); diff != "" {
			t.Error(diff)
		}
	}
	w.must("UntagResources", "ResourceType", "keypair", "ResourceId.1", "tagged", "TagKey.1", "old")
	w.must("UntagResources", "ResourceType", "keypair", "ResourceId.1", "other", "All", "True")
	if got := list("ResourceId.1", "tagged", "ResourceId.2", "other"); got != "keypair/tagged/new/2" {
		t.Errorf("left: %s", got)
	}
}

func TestRegionsAreTheOneServed(t *testing.T) {
	w := newWorld(t)
	body := w.must("DescribeRegions", "RegionId", "")
	want := map[string]any{"Region": []any{map[string]any{
		"RegionId": "cn-test", "LocalName": "cn-test", "RegionEndpoint": "example.com", "Status": "available",
	}}}
	if diff := cmp.Diff(want, body["Regions"]); diff != "" {
		t.Error(diff)
	}
}
