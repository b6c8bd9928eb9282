package ecsapi

import (
	"context"
	"strconv"

	"github.com/latchkey-ssh/latchkey/keypair"
)

const maxInstancesToBind = 50

// changeBinding is AttachKeyPair and DetachKeyPair: one asks and answers as the other.
func changeBinding(
	change func(*keypair.Region, context.Context, string, []string) ([]keypair.Outcome, error),
) func(*arguments) operation {
	return func(a *arguments) operation {
		name := a.required("KeyPairName")
		ids := a.array("InstanceIds", maxInstancesToBind, instanceIDsNotSupported, instanceIDsNotSupported)
		return func(ctx context.Context, region *keypair.Region) (answer, error) {
			outcomes, err := change(region, ctx, name, ids)
			if err != nil {
				return nil, err
			}
			return bindingResponse(name, outcomes), nil
		}
	}
}

// bindingResponse writes numbers and truth as text, as ECS does here and nowhere else.
func bindingResponse(name string, outcomes []keypair.Outcome) *BindingResponse {
	r := &BindingResponse{KeyPairName: name, TotalCount: strconv.Itoa(len(outcomes))}
	r.Results.Result = []BindingResult{}
	failed := 0
	for _, o := range outcomes {
		result := BindingResult{InstanceID: o.InstanceID, Success: "true", Code: "200", Message: "successful"}
		if o.Err != nil {
			failed++
			e := refusal("", o.Err)
			result.Success, result.Code, result.Message = "false", e.Code, e.Message
		}
		r.Results.Result = append(r.Results.Result, result)
	}
	r.FailCount = strconv.Itoa(failed)
	return r
}
