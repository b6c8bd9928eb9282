package ecsapi

import (
	"context"
	"math"
	"time"

	"github.com/latchkey-ssh/latchkey/keypair"
)

// action is one of the API's operations, in two steps: reading its arguments touches nothing, so that
// all that can be refused is refused before.
type action struct {
	read      func(*arguments) operation
	changes   bool // its nonce has to be remembered over a restart too
	anyRegion bool // RegionId may be left out
}

type operation func(context.Context, *keypair.Region) (answer, error)

var actions = map[string]action{
	"CreateKeyPair":             {read: createKeyPair, changes: true},
	"ImportKeyPair":             {read: importKeyPair, changes: true},
	"DescribeKeyPairs":          {read: describeKeyPairs},
	"DeleteKeyPairs":            {read: deleteKeyPairs, changes: true},
	"AttachKeyPair":             {read: changeBinding((*keypair.Region).Attach), changes: true},
	"DetachKeyPair":             {read: changeBinding((*keypair.Region).Detach), changes: true},
	"DescribeInstances":         {read: describeInstances},
	"DescribeInstanceAttribute": {read: describeInstanceAttribute, anyRegion: true},
	"RebootInstance":            {read: rebootInstance, changes: true, anyRegion: true},
	"RebootInstances":           {read: rebootInstances, changes: true},
	"DescribeRegions":           {read: describeRegions, anyRegion: true},
	"TagResources":              {read: tagResources, changes: true},
	"UntagResources":            {read: untagResources, changes: true},
	"ListTagResources":          {read: listTagResources},
}

// done is the answer of an action that tells nothing else.
func done(err error) (answer, error) {
	if err != nil {
		return nil, err
	}
	return &Response{}, nil
}

func describeRegions(a *arguments) operation {
	return func(_ context.Context, region *keypair.Region) (answer, error) {
		var r DescribeRegionsResponse
		r.Regions.Region = []Region{{
			RegionID: region.ID(), LocalName: region.ID(), RegionEndpoint: a.host, Status: "available",
		}}
		return &r, nil
	}
}

// page reads which page is asked for.
func (a *arguments) page(largest int) Page {
	return Page{PageNumber: a.number("PageNumber", 1, math.MaxInt32), PageSize: a.number("PageSize", 10, largest)}
}

// pageOf cuts a page out of all that was found, and says how many that is.
func pageOf[T any](p *Page, found []T) []T {
	p.TotalCount = len(found)
	from := min(int64(p.PageNumber-1)*int64(p.PageSize), int64(len(found)))
	to := min(from+int64(p.PageSize), int64(len(found)))
	return found[from:to]
}

func minutes(t time.Time) string { return t.UTC().Format("2006-01-02T15:04Z") }
