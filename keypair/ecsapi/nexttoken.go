package ecsapi

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"

	"github.com/latchkey-ssh/latchkey/keypair"
)

// part is what MaxResults and NextToken ask for: so many instances, behind a position.
type part struct {
	most   int
	behind position // zero for the beginning
	scope  string   // what the tokens are good for: a region and a filter
}

// position is an instance's place among all, which are in the order of their positions.
type position struct {
	Made int64 // nanoseconds since 1970
	ID   string
}

func positionOf(i keypair.Instance) position { return position{i.CreatedAt.UnixNano(), i.ID} }

func (p position) compare(other position) int {
	return cmp.Or(cmp.Compare(p.Made, other.Made), strings.Compare(p.ID, other.ID))
}

// part reads which part is asked for of the instances that the filter chooses, or that none is: then there are
// pages.
func (a *arguments) part(filter keypair.InstanceFilter) (p part, asked bool) {
	token := a.text("NextToken")
	if token == "" && a.text("MaxResults") == "" {
		return part{}, false
	}
	p = part{most: a.number("MaxResults", 10, maxInstancesInPage), scope: string(encode([]any{a.text("RegionId"), filter}))}
	if token != "" && !p.follow(token) {
		a.refuse(invalidParameter("NextToken"))
	}
	return p, true
}

// of cuts the part out of all that was found, and returns the token for the next one, empty after the last.
func (p part) of(found []keypair.Instance) (cut []keypair.Instance, next string) {
	from := slices.IndexFunc(found, func(i keypair.Instance) bool { return positionOf(i).compare(p.behind) > 0 })
	if from < 0 {
		return nil, ""
	}
	cut = found[from:]
	if len(cut) <= p.most {
		return cut, ""
	}
	return cut[:p.most], p.token(positionOf(cut[p.most-1]))
}

const sumSize = 16 // bytes

// token is a position with a sum over it and the scope before it. So nothing has to be remembered, and a restart
// takes no token away. The sum is against mistakes, not attacks: who makes a token of their own sees
// nothing that they could not ask for.
func (p part) token(end position) string {
	at := encode(end)
	sum := sha256.Sum256([]byte(p.scope + string(at)))
	return base64.RawURLEncoding.EncodeToString(append(sum[:sumSize], at...))
}

// follow has the part begin where a token says, and reports whether the token is one of this scope.
func (p *part) follow(token string) bool {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(raw) < sumSize || json.Unmarshal(raw[sumSize:], &p.behind) != nil {
		return false
	}
	return p.token(p.behind) == token
}
