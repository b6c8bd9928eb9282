package ecsapi

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/keypair"
)

const (
	badName   = "Specified Key Pair name is not valid."
	badKey    = "The PublicKeyBody format is not supported."
	noPair    = "The specified KeyPairName does not exist in our records."
	badIDs    = "The specified parameter InstanceIds is not valid."
	badNames  = `The specified parameter "KeyPairNames" is not valid.`
	badTagKey = "The specified Tag.n.Key is not valid."
	noRegion  = "The specified RegionId does not exist."
	noAPI     = "Specified api is not found, please check your url and method."
)

func missing(name string) string {
	return `The input parameter "` + name + `" that is mandatory for processing this request is not supplied.`
}

func wrong(name string) string { return `The specified parameter "` + name + `" is not valid.` }

// array is a JSON array of n texts.
func array(prefix string, n int) string {
	texts := make([]string, n)
	for i := range texts {
		texts[i] = fmt.Sprint(prefix, i)
	}
	encoded, _ := json.Marshal(texts)
	return string(encoded)
}

// TestBadInput: each has the documented code and changes nothing. There are a key pair "taken", which is
// bound, one called "spare", and two running instances and a Windows one.
func TestBadInput(t *testing.T) {
	certificate := "ssh-ed25519-cert-v01@openssh.com " + ed25519Line[12:]
	tests := []struct {
		name, action string
		pairs        []string
		status       int
		code         string
		message      string
	}{
		{"no name", "CreateKeyPair", nil, 400, "MissingParameter", missing("KeyPairName")},
		{"name of one letter", "CreateKeyPair", []string{"KeyPairName", "a"}, 400, "InvalidKeyPairName.Malformed", badName},
		{"name of 129 letters", "CreateKeyPair", []string{"KeyPairName", strings.Repeat("a", 129)}, 400, "InvalidKeyPairName.Malformed", badName},
		{"name with a digit first", "CreateKeyPair", []string{"KeyPairName", "1ab"}, 400, "InvalidKeyPairName.Malformed", badName},
		{"name with a blank", "CreateKeyPair", []string{"KeyPairName", "a b"}, 400, "InvalidKeyPairName.Malformed", badName},
		{"name with a slash", "CreateKeyPair", []string{"KeyPairName", "a/../b"}, 400, "InvalidKeyPairName.Malformed", badName},
		{"name with a newline", "CreateKeyPair", []string{"KeyPairName", "ab\n"}, 400, "InvalidKeyPairName.Malformed", badName},
		{"name with a zero byte", "CreateKeyPair", []string{"KeyPairName", "ab\x00"}, 400, "InvalidKeyPairName.Malformed", badName},
		{"name that is no UTF-8", "CreateKeyPair", []string{"KeyPairName", "ab\xff"}, 400, "InvalidKeyPairName.Malformed", badName},
		{"name that is an address", "CreateKeyPair", []string{"KeyPairName", "http://abc"}, 400, "InvalidKeyPairName.Malformed", badName},
		{"name with a wildcard", "CreateKeyPair", []string{"KeyPairName", "ab*"}, 400, "InvalidKeyPairName.Malformed", badName},
		{"duplicate", "CreateKeyPair", []string{"KeyPairName", "taken"}, 400, "KeyPair.AlreadyExist", "The key pair already exist."},
		{"unknown key type", "CreateKeyPair", []string{"KeyPairName", "fresh", "KeyType", "DSA"}, 400, "InvalidParameter.KeyType", wrong("KeyType")},
		{"unknown group", "CreateKeyPair", []string{"KeyPairName", "fresh", "ResourceGroupId", "rg-none"}, 404, "InvalidResourceGroup.NotFound", "The ResourceGroup provided does not exist in our records."},
		{"group that is none", "CreateKeyPair", []string{"KeyPairName", "fresh", "ResourceGroupId", "../x"}, 404, "InvalidResourceGroup.NotFound", "The ResourceGroup provided does not exist in our records."},
		{"region of others to create in", "CreateKeyPair", []string{"KeyPairName", "fresh", "RegionId", "cn-other"}, 404, "InvalidRegionId.NotFound", "The RegionId provided does not exist in our records."},
		{"no region", "CreateKeyPair", []string{"KeyPairName", "fresh", "RegionId", ""}, 400, "MissingParameter", missing("RegionId")},
		{"tag twice", "CreateKeyPair", []string{"KeyPairName", "fresh", "Tag.1.Key", "a", "Tag.2.Key", "a"}, 400, "Duplicate.TagKey", "The Tag.N.Key contain duplicate key."},
		{"tag of theirs", "CreateKeyPair", []string{"KeyPairName", "fresh", "Tag.1.Key", "acs:x"}, 400, "InvalidTagKey.Malformed", badTagKey},
		{"tag key too long", "CreateKeyPair", []string{"KeyPairName", "fresh", "Tag.1.Key", strings.Repeat("k", 129)}, 400, "InvalidTagKey.Malformed", badTagKey},
		{"tag value without key", "CreateKeyPair", []string{"KeyPairName", "fresh", "Tag.1.Value", "a"}, 400, "InvalidTagKey.Malformed", badTagKey},
		{"tag value too long", "CreateKeyPair", []string{"KeyPairName", "fresh", "Tag.1.Key", "a", "Tag.1.Value", strings.Repeat("v", 129)}, 400, "InvalidTagValue.Malformed", "The specified Tag.n.Value is not valid."},
		{"tag number 21", "CreateKeyPair", []string{"KeyPairName", "fresh", "Tag.21.Key", "a"}, 403, "QuotaExceed.Tags", "The tag quota of the key pair exceeds: 20 tags."},
		{"tag number 01", "CreateKeyPair", []string{"KeyPairName", "fresh", "Tag.01.Key", "a"}, 403, "QuotaExceed.Tags", "The tag quota of the key pair exceeds: 20 tags."},

		{"no key", "ImportKeyPair", []string{"KeyPairName", "fresh"}, 400, "MissingParameter", missing("PublicKeyBody")},
		{"no name to import", "ImportKeyPair", []string{"PublicKeyBody", ed25519Line}, 400, "MissingParameter", missing("KeyPairName")},
		{"duplicate to import", "ImportKeyPair", []string{"KeyPairName", "taken", "PublicKeyBody", ed25519Line}, 400, "KeyPair.AlreadyExist", "The key pair already exist."},
		{"malformed name to import", "ImportKeyPair", []string{"KeyPairName", "_", "PublicKeyBody", ed25519Line}, 400, "InvalidKeyPairName.Malformed", badName},
		{"two-line key", "ImportKeyPair", []string{"KeyPairName", "fresh", "PublicKeyBody", ed25519Line + "\n" + ed25519Line}, 400, "InvalidPublicKeyBody.Malformed", badKey},
		{"options before the key", "ImportKeyPair", []string{"KeyPairName", "fresh", "PublicKeyBody", `command="id" ` + ed25519Line}, 400, "InvalidPublicKeyBody.Malformed", badKey},
		{"type that lies", "ImportKeyPair", []string{"KeyPairName", "fresh", "PublicKeyBody", "ssh-rsa " + ed25519Line[12:]}, 400, "InvalidPublicKeyBody.Malformed", badKey},
		{"certificate that is none", "ImportKeyPair", []string{"KeyPairName", "fresh", "PublicKeyBody", certificate}, 400, "InvalidPublicKeyBody.Malformed", badKey},
		{"private key", "ImportKeyPair", []string{"KeyPairName", "fresh", "PublicKeyBody", "-----BEGIN RSA PRIVATE KEY-----"}, 400, "InvalidPublicKeyBody.Malformed", badKey},
		{"cut key", "ImportKeyPair", []string{"KeyPairName", "fresh", "PublicKeyBody", ed25519Line[:40]}, 400, "InvalidPublicKeyBody.Malformed", badKey},
		{"region of others to import to", "ImportKeyPair", []string{"KeyPairName", "fresh", "PublicKeyBody", ed25519Line, "RegionId", "x"}, 404, "InvalidRegionId.NotFound", "The RegionId provided does not exist in our records."},

		{"page 0", "DescribeKeyPairs", []string{"PageNumber", "0"}, 400, "InvalidParameter.PageNumber", wrong("PageNumber")},
		{"page -1", "DescribeKeyPairs", []string{"PageNumber", "-1"}, 400, "InvalidParameter.PageNumber", wrong("PageNumber")},
		{"page beyond numbers", "DescribeKeyPairs", []string{"PageNumber", "9223372036854775808"}, 400, "InvalidParameter.PageNumber", wrong("PageNumber")},
		{"page that is no number", "DescribeKeyPairs", []string{"PageNumber", "one"}, 400, "InvalidParameter.PageNumber", wrong("PageNumber")},
		{"51 on a page", "DescribeKeyPairs", []string{"PageSize", "51"}, 400, "InvalidParameter.PageSize", wrong("PageSize")},
		{"0 on a page", "DescribeKeyPairs", []string{"PageSize", "0"}, 400, "InvalidParameter.PageSize", wrong("PageSize")},
		{"flag that is none", "DescribeKeyPairs", []string{"IncludePublicKey", "yes"}, 400, "InvalidParameter.IncludePublicKey", wrong("IncludePublicKey")},
		{"region of others to look at", "DescribeKeyPairs", []string{"RegionId", "cn-other"}, 404, "InvalidRegionId.NotFound", noRegion},
		{"no region to look at", "DescribeKeyPairs", []string{"RegionId", ""}, 400, "MissingParameter", missing("RegionId")},

		{"attach no pair", "AttachKeyPair", []string{"InstanceIds", `["i-a"]`}, 400, "MissingParameter", missing("KeyPairName")},
		{"attach to none", "AttachKeyPair", []string{"KeyPairName", "spare"}, 400, "MissingParameter", missing("InstanceIds")},
		{"attach unknown pair", "AttachKeyPair", []string{"KeyPairName", "none", "InstanceIds", `["` + linux2 + `"]`}, 400, "InvalidKeyPairName.NotFound", noPair},
		{"detach unknown pair", "DetachKeyPair", []string{"KeyPairName", "none", "InstanceIds", `["` + linux + `"]`}, 400, "InvalidKeyPairName.NotFound", noPair},
		{"51 instances", "AttachKeyPair", []string{"KeyPairName", "spare", "InstanceIds", array("i-", 51)}, 400, "InvalidInstanceIds.ValueNotSupported", badIDs},
		{"51 instances to detach", "DetachKeyPair", []string{"KeyPairName", "spare", "InstanceIds", array("i-", 51)}, 400, "InvalidInstanceIds.ValueNotSupported", badIDs},
		{"bare instance id", "AttachKeyPair", []string{"KeyPairName", "spare", "InstanceIds", linux2}, 400, "InvalidInstanceIds.ValueNotSupported", badIDs},
		{"empty array", "AttachKeyPair", []string{"KeyPairName", "spare", "InstanceIds", `[]`}, 400, "InvalidInstanceIds.ValueNotSupported", badIDs},
		{"array of numbers", "AttachKeyPair", []string{"KeyPairName", "spare", "InstanceIds", `[1]`}, 400, "InvalidInstanceIds.ValueNotSupported", badIDs},
		{"array with null", "AttachKeyPair", []string{"KeyPairName", "spare", "InstanceIds", `["` + linux2 + `",null]`}, 400, "InvalidInstanceIds.ValueNotSupported", badIDs},
		{"array in an array", "AttachKeyPair", []string{"KeyPairName", "spare", "InstanceIds", `[["` + linux2 + `"]]`}, 400, "InvalidInstanceIds.ValueNotSupported", badIDs},
		{"array that does not end", "AttachKeyPair", []string{"KeyPairName", "spare", "InstanceIds", `["` + linux2 + `"`}, 400, "InvalidInstanceIds.ValueNotSupported", badIDs},
		{"array and more", "AttachKeyPair", []string{"KeyPairName", "spare", "InstanceIds", `["` + linux2 + `"] x`}, 400, "InvalidInstanceIds.ValueNotSupported", badIDs},
		{"object", "DetachKeyPair", []string{"KeyPairName", "spare", "InstanceIds", `{}`}, 400, "InvalidInstanceIds.ValueNotSupported", badIDs},
		{"null", "DetachKeyPair", []string{"KeyPairName", "spare", "InstanceIds", `null`}, 400, "InvalidInstanceIds.ValueNotSupported", badIDs},
		{"region of others to attach in", "AttachKeyPair", []string{"KeyPairName", "spare", "InstanceIds", `["i-a"]`, "RegionId", "x"}, 404, "InvalidRegionId.NotFound", noRegion},

		{"delete nothing", "DeleteKeyPairs", nil, 400, "MissingParameter", missing("KeyPairNames")},
		{"delete a bare name", "DeleteKeyPairs", []string{"KeyPairNames", "spare"}, 400, "InvalidKeyPairNames.ValueNotSupported", badNames},
		{"delete an empty array", "DeleteKeyPairs", []string{"KeyPairNames", "[]"}, 400, "InvalidKeyPairNames.ValueNotSupported", badNames},
		{"101 names", "DeleteKeyPairs", []string{"KeyPairNames", array("name", 101)}, 403, "InstanceKeyPairLimitExceeded", "Exceeding the allowed amount of instance which will be deleted."},
		{"delete what is bound", "DeleteKeyPairs", []string{"KeyPairNames", `["spare","taken"]`}, 400, "InvalidParameter.KeypairAlreadyAttachedInstance", `The specified parameter "KeyPairNames" attached to instances can not be deleted.`},
		{"delete what is not there", "DeleteKeyPairs", []string{"KeyPairNames", `["spare","none"]`}, 404, "InvalidKeyPair.NotFound", noPair},

		{"101 instances to look at", "DescribeInstances", []string{"InstanceIds", array("i-", 101)}, 400, "InvalidInstanceIds.ValueNotSupported", badIDs},
		{"no instances to look at", "DescribeInstances", []string{"InstanceIds", "[]"}, 400, "InvalidInstanceIds.ValueNotSupported", badIDs},
		{"unknown status", "DescribeInstances", []string{"Status", "Resting"}, 400, "InvalidParameter.Status", wrong("Status")},
		{"101 on a page", "DescribeInstances", []string{"PageSize", "101"}, 400, "InvalidParameter.PageSize", wrong("PageSize")},
		{"parts of none", "DescribeInstances", []string{"MaxResults", "0"}, 400, "InvalidParameter.MaxResults", wrong("MaxResults")},
		{"parts of 101", "DescribeInstances", []string{"MaxResults", "101"}, 400, "InvalidParameter.MaxResults", wrong("MaxResults")},
		{"parts of no number", "DescribeInstances", []string{"MaxResults", "ten"}, 400, "InvalidParameter.MaxResults", wrong("MaxResults")},
		{"token of nobody", "DescribeInstances", []string{"NextToken", "x"}, 400, "InvalidParameter.NextToken", wrong("NextToken")},
		{"attribute of none", "DescribeInstanceAttribute", nil, 400, "MissingParameter", missing("InstanceId")},
		{"attribute of an unknown one", "DescribeInstanceAttribute", []string{"InstanceId", unknown}, 404, "InvalidInstanceId.NotFound", "The specified InstanceId does not exist."},
		{"attribute of a path", "DescribeInstanceAttribute", []string{"InstanceId", "../pair/taken"}, 404, "InvalidInstanceId.NotFound", "The specified InstanceId does not exist."},
		{"reboot none", "RebootInstance", nil, 400, "MissingParameter", missing("InstanceId")},
		{"reboot an unknown one", "RebootInstance", []string{"InstanceId", unknown}, 404, "InvalidInstanceId.NotFound", "The specified InstanceId does not exist."},
		{"reboot what is stopped", "RebootInstance", []string{"InstanceId", windows}, 403, "IncorrectInstanceStatus", "The current status of the resource does not support this operation."},
		{"reboot for show", "RebootInstance", []string{"InstanceId", linux, "DryRun", "true"}, 400, "DryRunOperation", "Request validation has been passed with DryRun flag set."},
		{"reboot an unknown one for show", "RebootInstance", []string{"InstanceId", unknown, "DryRun", "true"}, 404, "InvalidInstanceId.NotFound", "The specified InstanceId does not exist."},
		{"reboot none at once", "RebootInstances", nil, 400, "MissingParameter", missing("InstanceId")},
		{"reboot all or none", "RebootInstances", []string{"InstanceId.1", linux, "InstanceId.2", windows}, 403, "IncorrectInstanceStatus", "The current status of the resource does not support this operation."},
		{"reboot number 101", "RebootInstances", []string{"InstanceId.101", linux}, 400, "InvalidParameter.InstanceId", wrong("InstanceId")},
		{"reboot many for show", "RebootInstances", []string{"InstanceId.1", linux, "DryRun", "true"}, 400, "DryRunOperation", "Request validation has been passed with DryRun flag set."},
		{"unknown optimization", "RebootInstances", []string{"InstanceId.1", linux, "BatchOptimization", "x"}, 400, "InvalidParameter.BatchOptimization", wrong("BatchOptimization")},

		{"tag no type", "TagResources", []string{"ResourceId.1", "spare", "Tag.1.Key", "a"}, 400, "MissingParameter", missing("ResourceType")},
		{"tag another type", "TagResources", []string{"ResourceType", "instance", "ResourceId.1", "spare", "Tag.1.Key", "a"}, 404, "InvalidResourceType.NotFound", "The ResourceType provided does not exist in our records."},
		{"tag nothing", "TagResources", []string{"ResourceType", "keypair", "Tag.1.Key", "a"}, 400, "MissingParameter", missing("ResourceId")},
		{"tag with nothing", "TagResources", []string{"ResourceType", "keypair", "ResourceId.1", "spare"}, 400, "MissingParameter", missing("Tag")},
		{"tag what is not there", "TagResources", []string{"ResourceType", "keypair", "ResourceId.1", "spare", "ResourceId.2", "none", "Tag.1.Key", "a"}, 404, "InvalidResourceId.NotFound", "The specified ResourceIds are not found in our records."},
		{"tag number 51", "TagResources", []string{"ResourceType", "keypair", "ResourceId.51", "spare", "Tag.1.Key", "a"}, 400, "InvalidParameter.ResourceId", wrong("ResourceId")},
		{"untag nothing", "UntagResources", []string{"ResourceType", "keypair", "ResourceId.1", "spare"}, 400, "MissingParameter", missing("TagKey")},
		{"untag what is not there", "UntagResources", []string{"ResourceType", "keypair", "ResourceId.1", "none", "All", "true"}, 404, "InvalidResourceId.NotFound", "The specified ResourceIds are not found in our records."},
		{"list tags of all", "ListTagResources", []string{"ResourceType", "keypair"}, 400, "MissingParameter", missing("ResourceId")},
		{"list tags further", "ListTagResources", []string{"ResourceType", "keypair", "ResourceId.1", "spare", "NextToken", "x"}, 400, "InvalidParameter.NextToken", wrong("NextToken")},

		{"unknown action", "RunInstances", nil, 404, "InvalidAction.NotFound", noAPI},
		{"action of other case", "createkeypair", nil, 404, "InvalidAction.NotFound", noAPI},
		{"action of ECS that is not here", "ModifyInstanceAttribute", []string{"InstanceId", linux}, 404, "InvalidAction.NotFound", noAPI},
		{"no action", "", nil, 400, "MissingAction", "Action is mandatory for this action."},
		{"no version", "DescribeKeyPairs", []string{"Version", ""}, 400, "MissingVersion", "Version is mandatory for this action."},
		{"another version", "DescribeKeyPairs", []string{"Version", "2016-03-14"}, 400, "InvalidVersion", "Specified parameter Version is not valid."},
	}
	w := newWorld(t)
	w.must("ImportKeyPair", "KeyPairName", "taken", "PublicKeyBody", ed25519Line)
	w.must("ImportKeyPair", "KeyPairName", "spare", "PublicKeyBody", ed25519Line)
	w.must("AttachKeyPair", "KeyPairName", "taken", "InstanceIds", `["`+linux+`"]`)
	if err := w.region.SetStatus(t.Context(), windows, keypair.Stopped); err != nil {
		t.Fatal(err)
	}
	before := w.everything()
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w.t = t
			w.refused(test.status, test.code, test.message, params(test.action, test.pairs...))
			if diff := cmp.Diff(before, w.everything()); diff != "" {
				t.Errorf("something has changed:\n%s", diff)
			}
		})
	}
}

// everything is all that the region shows.
func (w *world) everything() []any {
	w.t.Helper()
	pairs, err := w.region.KeyPairs(w.t.Context(), keypair.PairFilter{})
	if err != nil {
		w.t.Fatal(err)
	}
	instances, err := w.region.Instances(w.t.Context(), keypair.InstanceFilter{})
	if err != nil {
		w.t.Fatal(err)
	}
	for i := range instances { // cmp cannot look into an address
		instances[i].Addresses = nil
	}
	return []any{pairs, instances}
}

// TestPublicKeyIsRefusedWithTheReason: the message is ECS's to the letter, the reason is beside it.
func TestPublicKeyIsRefusedWithTheReason(t *testing.T) {
	w := newWorld(t)
	_, body := w.call("ImportKeyPair", "KeyPairName", "options", "PublicKeyBody", `command="secret-thing" `+ed25519Line)
	reason, _ := body["Recommend"].(string)
	if !strings.HasPrefix(reason, "public key: ") {
		t.Errorf("reason %q", reason)
	}
	if strings.Contains(reason, "secret-thing") || strings.Contains(reason, ed25519Line[12:]) {
		t.Errorf("the reason repeats what was sent: %q", reason)
	}
}

func TestFiveHundredAndFirstPairIsRefused(t *testing.T) {
	w := newWorld(t)
	for i := range keypair.MaxKeyPairs {
		if _, err := w.region.ImportKeyPair(t.Context(), keypair.NewKeyPair{Name: fmt.Sprint("pair", i)}, ed25519Line); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []map[string]string{
		params("ImportKeyPair", "KeyPairName", "more", "PublicKeyBody", ed25519Line),
		params("CreateKeyPair", "KeyPairName", "more"),
	} {
		w.refused(403, "QuotaExceed.KeyPair", "The key pair quota exceeds.", p)
	}
	w.must("DeleteKeyPairs", "KeyPairNames", `["pair0"]`)
	w.must("ImportKeyPair", "KeyPairName", "more", "PublicKeyBody", ed25519Line)
}

// TestEveryRefusalOfTheRegionHasACode: what a caller can bring about is never an InternalError.
func TestEveryRefusalOfTheRegionHasACode(t *testing.T) {
	for _, err := range []error{
		keypair.ErrName, keypair.ErrPairExists, keypair.ErrPairNotFound, keypair.ErrPairBound, keypair.ErrPairQuota,
		keypair.ErrPublicKey, keypair.ErrKeyType, keypair.ErrTagKey, keypair.ErrTagValue, keypair.ErrTagTwice,
		keypair.ErrTagQuota, keypair.ErrResourceGroupNotFound, keypair.ErrInstanceNotFound, keypair.ErrInstanceStatus,
		keypair.ErrWindows, keypair.ErrAccessKeyNotFound, keypair.ErrNonceUsed,
	} {
		if e := refusal("", fmt.Errorf("wrapped: %w", err)); e.Status >= 500 {
			t.Errorf("%v is an %s", err, e.Code)
		}
	}
}
