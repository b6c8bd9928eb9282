package keypair

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// Tag is a key with a value on a key pair.
type Tag struct {
	Key   string `json:"key"`
	Value string `json:"value,omitempty"`
}

// checkTags holds tags to ECS's rules and returns them in order of their keys.
func checkTags(tags []Tag) ([]Tag, error) {
	if len(tags) > MaxTags {
		return nil, ErrTagQuota
	}
	sorted := slices.SortedFunc(slices.Values(tags), byKey)
	for i, tag := range sorted {
		switch {
		case !validTagKey(tag.Key):
			return nil, ErrTagKey
		case !validTagValue(tag.Value):
			return nil, ErrTagValue
		case i > 0 && sorted[i-1].Key == tag.Key:
			return nil, ErrTagTwice
		}
	}
	return sorted, nil
}

func byKey(a, b Tag) int { return strings.Compare(a.Key, b.Key) }

func validTagKey(key string) bool {
	return key != "" && !strings.HasPrefix(strings.ToLower(key), "aliyun") && validTagValue(key)
}

func validTagValue(value string) bool {
	return utf8.ValidString(value) && utf8.RuneCountInString(value) <= 128 &&
		!strings.HasPrefix(strings.ToLower(value), "acs:") &&
		!strings.Contains(value, "http://") && !strings.Contains(value, "https://")
}

// withTags returns tags with those of more added, which replace those of the same key.
func withTags(tags, more []Tag) ([]Tag, error) {
	more, err := checkTags(more)
	if err != nil {
		return nil, err
	}
	all := slices.DeleteFunc(slices.Clone(tags), func(t Tag) bool { return hasKey(more, t.Key) })
	return checkTags(append(all, more...))
}

// withoutTags returns tags without those keys; no keys stand for all of them.
func withoutTags(tags []Tag, keys []string) []Tag {
	return slices.DeleteFunc(slices.Clone(tags), func(t Tag) bool {
		return len(keys) == 0 || slices.Contains(keys, t.Key)
	})
}

func hasKey(tags []Tag, key string) bool {
	return slices.ContainsFunc(tags, func(t Tag) bool { return t.Key == key })
}

// hasTags tells whether all that are wanted are among tags.
func hasTags(tags, wanted []Tag) bool {
	for _, want := range wanted {
		fits := func(t Tag) bool { return t.Key == want.Key && (want.Value == "" || t.Value == want.Value) }
		if !slices.ContainsFunc(tags, fits) {
			return false
		}
	}
	return true
}
