package ecsapi

import (
	"context"
	"slices"
	"strconv"

	"github.com/latchkey-ssh/latchkey/keypair"
)

// resourceType is the only one that has tags here.
const resourceType = "keypair"

const (
	maxResources = 50
	maxTags      = keypair.MaxTags
)

// tags are Tag.N.Key and Tag.N.Value, by N.
func (a *arguments) tags() []keypair.Tag {
	numbers := append(a.indices("Tag", ".Key", maxTags, tagQuota()), a.indices("Tag", ".Value", maxTags, tagQuota())...)
	slices.Sort(numbers)
	var tags []keypair.Tag
	for _, n := range slices.Compact(numbers) {
		tag := keypair.Tag{
			Key:   a.text("Tag." + strconv.Itoa(n) + ".Key"),
			Value: a.text("Tag." + strconv.Itoa(n) + ".Value"),
		}
		if tag.Key == "" {
			a.refuse(tagKeyMalformed())
		}
		tags = append(tags, tag)
	}
	return tags
}

// resources are the key pairs that an action on tags is about, by name or id.
func (a *arguments) resources() []string {
	if kind := a.required("ResourceType"); kind != "" && kind != resourceType {
		a.refuse(resourceTypeNotFound())
	}
	return a.repeated("ResourceId", maxResources)
}

func tagResources(a *arguments) operation {
	pairs, tags := a.resources(), a.tags()
	if len(pairs) == 0 {
		a.refuse(missingParameter("ResourceId"))
	}
	if len(tags) == 0 {
		a.refuse(missingParameter("Tag"))
	}
	return func(ctx context.Context, region *keypair.Region) (answer, error) {
		return done(region.TagKeyPairs(ctx, pairs, tags))
	}
}

// untagResources takes away the tags that are named, or all where none is and All says so.
func untagResources(a *arguments) operation {
	pairs, keys, all := a.resources(), a.repeated("TagKey", maxTags), a.flag("All")
	if len(pairs) == 0 {
		a.refuse(missingParameter("ResourceId"))
	}
	if len(keys) == 0 && !all {
		a.refuse(missingParameter("TagKey"))
	}
	return func(ctx context.Context, region *keypair.Region) (answer, error) {
		return done(region.UntagKeyPairs(ctx, pairs, keys))
	}
}

// listTagResources tells all at once, since ECS's has no MaxResults and there are no more than 500 key pairs.
func listTagResources(a *arguments) operation {
	pairs, tags := a.resources(), a.tags()
	if len(pairs) == 0 && len(tags) == 0 {
		a.refuse(missingParameter("ResourceId"))
	}
	if a.text("NextToken") != "" {
		a.refuse(invalidParameter("NextToken"))
	}
	return func(ctx context.Context, region *keypair.Region) (answer, error) {
		found, err := region.KeyPairs(ctx, keypair.PairFilter{Tags: tags})
		if err != nil {
			return nil, err
		}
		var r ListTagResourcesResponse
		r.TagResources.TagResource = []TagResource{}
		for _, pair := range found {
			if id, asked := calledIn(pairs, pair); asked {
				r.TagResources.TagResource = append(r.TagResources.TagResource, tagsOf(pair, id)...)
			}
		}
		return &r, nil
	}
}

// calledIn tells whether a key pair is among those asked for, all where none is, and as what.
func calledIn(asked []string, pair keypair.KeyPair) (id string, ok bool) {
	switch {
	case len(asked) == 0 || slices.Contains(asked, pair.Name):
		return pair.Name, true
	case slices.Contains(asked, pair.ID):
		return pair.ID, true
	}
	return "", false
}

func tagsOf(pair keypair.KeyPair, id string) []TagResource {
	var rows []TagResource
	for _, tag := range pair.Tags {
		rows = append(rows, TagResource{ResourceType: resourceType, ResourceID: id, TagKey: tag.Key, TagValue: tag.Value})
	}
	return rows
}
