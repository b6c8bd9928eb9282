package ecsapi

import (
	"context"
	"slices"

	"github.com/latchkey-ssh/latchkey/keypair"
)

const maxInstancesToReboot = 100

func rebootInstance(a *arguments) operation {
	id, force, dry := a.required("InstanceId"), a.flag("ForceStop"), a.flag("DryRun")
	return func(ctx context.Context, region *keypair.Region) (answer, error) {
		if dry {
			return nil, dryRunOf(ctx, region, []string{id})
		}
		return done(region.Reboot(ctx, id, force))
	}
}

// dryRunOf says why instances could not be restarted, or that they could: in ECS that is an error too.
func dryRunOf(ctx context.Context, region *keypair.Region, ids []string) error {
	if err := restartable(ctx, region, ids); err != nil {
		return err
	}
	return dryRun()
}

// restartable is why one of the instances cannot be restarted, or nil.
func restartable(ctx context.Context, region *keypair.Region, ids []string) error {
	for _, id := range ids {
		instance, err := region.Instance(ctx, id)
		if err != nil {
			return err
		}
		if instance.Status != keypair.Running {
			return keypair.ErrInstanceStatus
		}
	}
	return nil
}

// rebootInstances restarts instances: with AllTogether all or, where one cannot be, none; with SuccessFirst
// those that can be.
func rebootInstances(a *arguments) operation {
	ids := distinct(a.repeated("InstanceId", maxInstancesToReboot))
	if len(ids) == 0 {
		a.refuse(missingParameter("InstanceId"))
	}
	force, dry := a.flag("ForceReboot"), a.flag("DryRun")
	together := a.oneOf("BatchOptimization", "AllTogether", "SuccessFirst") == "AllTogether"
	return func(ctx context.Context, region *keypair.Region) (answer, error) {
		if dry {
			return nil, dryRunOf(ctx, region, ids)
		}
		if together {
			if err := restartable(ctx, region, ids); err != nil {
				return nil, err
			}
		}
		var r RebootInstancesResponse
		for _, id := range ids {
			r.InstanceResponses.InstanceResponse = append(r.InstanceResponses.InstanceResponse, reboot(ctx, region, id, force))
		}
		return &r, nil
	}
}

func distinct(ids []string) []string {
	var once []string
	for _, id := range ids {
		if !slices.Contains(once, id) {
			once = append(once, id)
		}
	}
	return once
}

func reboot(ctx context.Context, region *keypair.Region, id string, force bool) InstanceResponse {
	if err := region.Reboot(ctx, id, force); err != nil {
		e := refusal("", err)
		status := ""
		if instance, err := region.Instance(ctx, id); err == nil {
			status = string(instance.Status)
		}
		return InstanceResponse{
			InstanceID: id, Code: e.Code, Message: e.Message, PreviousStatus: status, CurrentStatus: status,
		}
	}
	return InstanceResponse{
		InstanceID: id, Code: "200", Message: "success",
		PreviousStatus: string(keypair.Running), CurrentStatus: string(keypair.Starting),
	}
}
