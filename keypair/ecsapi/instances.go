package ecsapi

import (
	"context"

	"github.com/latchkey-ssh/latchkey/keypair"
)

const maxInstancesInPage = 100

func describeInstances(a *arguments) operation {
	filter := keypair.InstanceFilter{KeyPairName: a.text("KeyPairName"), Status: keypair.Status(a.oneOf("Status",
		"", string(keypair.Pending), string(keypair.Starting), string(keypair.Running), string(keypair.Stopping), string(keypair.Stopped)))}
	if a.text("InstanceIds") != "" {
		filter.IDs = a.array("InstanceIds", maxInstancesInPage, instanceIDsNotSupported, instanceIDsNotSupported)
	}
	part, inParts := a.part(filter)
	page := Page{PageNumber: 1, PageSize: part.most}
	if !inParts {
		page = a.page(maxInstancesInPage)
	}
	return func(ctx context.Context, region *keypair.Region) (answer, error) {
		found, err := region.Instances(ctx, filter)
		if err != nil {
			return nil, err
		}
		r := DescribeInstancesResponse{Page: page}
		shown := pageOf(&r.Page, found)
		if inParts {
			shown, r.NextToken = part.of(found)
		}
		r.Instances.Instance = []Instance{}
		for _, instance := range shown {
			r.Instances.Instance = append(r.Instances.Instance, describedInstance(instance, region.ID()))
		}
		return &r, nil
	}
}

func describedInstance(i keypair.Instance, region string) Instance {
	d := Instance{
		InstanceAttributes: attributes(i, region), OSType: i.OSType, OSName: i.OSName,
		MetadataOptions: MetadataOptions(i.Metadata),
	}
	d.ImageOptions.LoginAsNonRoot = i.LoginUser != "" && i.LoginUser != "root"
	return d
}

func attributes(i keypair.Instance, region string) InstanceAttributes {
	d := InstanceAttributes{
		InstanceID: i.ID, InstanceName: i.Name, HostName: i.HostName, InstanceType: i.Type, ImageID: i.ImageID,
		SerialNumber: i.SerialNumber, RegionID: region, ZoneID: i.ZoneID, Status: string(i.Status),
		KeyPairName: i.KeyPairName, CreationTime: minutes(i.CreatedAt),
	}
	d.VpcAttributes.PrivateIPAddress.IPAddress = []string{}
	for _, address := range i.Addresses {
		d.VpcAttributes.PrivateIPAddress.IPAddress = append(d.VpcAttributes.PrivateIPAddress.IPAddress, address.String())
	}
	return d
}

func describeInstanceAttribute(a *arguments) operation {
	id := a.required("InstanceId")
	return func(ctx context.Context, region *keypair.Region) (answer, error) {
		instance, err := region.Instance(ctx, id)
		if err != nil {
			return nil, err
		}
		return &DescribeInstanceAttributeResponse{InstanceAttributes: attributes(instance, region.ID())}, nil
	}
}
