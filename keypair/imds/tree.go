package imds

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// tree is what one instance's endpoint serves, by path: "/" and what is below it. Leaves are
// values, paths that end in a slash are listings. It does not change once made.
type tree map[string]string

// versions are the two names of the one tree.
var versions = []string{"2016-01-01", "latest"}

func newTree(i Instance) tree {
	t := tree{"/": strings.Join(versions, "\n")}
	for _, version := range versions {
		for path, value := range i.leaves() {
			t["/"+version+"/meta-data/"+path] = value
		}
		t["/"+version+"/dynamic/instance-identity/document"] = i.identity()
	}
	t.list()
	for _, version := range versions {
		t["/"+version+"/meta-data/all"] = i.all() // in no listing: a client that walks the tree has it all already
	}
	return t
}

// list adds a listing for every directory below a version: one name per line, sorted,
// directories with a slash.
func (t tree) list() {
	names := map[string][]string{}
	for _, path := range slices.Sorted(maps.Keys(t)) {
		for path != "/" {
			parent := path[:strings.LastIndexByte(strings.TrimSuffix(path, "/"), '/')+1]
			if name := path[len(parent):]; parent != "/" && !slices.Contains(names[parent], name) {
				names[parent] = append(names[parent], name)
			}
			path = parent
		}
	}
	for directory, entries := range names {
		slices.Sort(entries)
		t[directory] = strings.Join(entries, "\n")
	}
}

// find returns the value of a leaf or the listing of a directory, whose final slash may be
// missing.
func (t tree) find(path string) (string, bool) {
	if value, ok := t[path]; ok {
		return value, true
	}
	value, ok := t[path+"/"]
	return value, ok
}

// all is the whole of meta-data/ as one JSON object, directories as objects within.
func (i Instance) all() string {
	root := map[string]any{}
	for path, value := range i.leaves() {
		steps := strings.Split(path, "/")
		directory := root
		for _, step := range steps[:len(steps)-1] {
			if directory[step] == nil {
				directory[step] = map[string]any{}
			}
			directory = directory[step].(map[string]any)
		}
		directory[steps[len(steps)-1]] = value
	}
	return marshal(root)
}

// identity is the instance identity document.
func (i Instance) identity() string {
	return marshal(map[string]string{
		"image-id":         i.ImageID,
		"instance-id":      i.ID,
		"instance-type":    i.Type,
		"mac":              i.MAC,
		"owner-account-id": i.OwnerID,
		"private-ipv4":     i.PrivateIPv4,
		"region-id":        i.RegionID,
		"serial-number":    i.SerialNumber,
		"zone-id":          i.ZoneID,
	})
}

func marshal(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // maps of strings always marshal
	}
	return string(text)
}
