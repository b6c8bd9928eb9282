package ecsclient

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"strings"
)

// Limits of one request, and of a list.
const (
	MaxAttach    = 50      // instances in AttachKeyPair and DetachKeyPair
	MaxInstances = 100_000 // that Instances yields
	instancePage = 100     // instances on a page, and ids in a filter
)

// Outcome is what became of one instance of several.
type Outcome struct {
	InstanceID string
	Err        error // an *Error, nil when it was done, or an ErrNoAnswer when the service did not say
}

type bindingAnswer struct {
	RequestId text
	Results   struct {
		Result []struct{ InstanceId, Success, Code, Message text }
	}
}

// AttachKeyPair binds a key pair to up to MaxAttach instances, in place of what was bound to them. An instance that
// takes none fails alone; an error means that nothing was done, but for ErrNoAnswer.
func (c *Client) AttachKeyPair(ctx context.Context, pair string, instances []string) ([]Outcome, error) {
	return c.changeBindings(ctx, "AttachKeyPair", pair, instances)
}

// DetachKeyPair takes a key pair from up to MaxAttach instances, as AttachKeyPair binds it.
func (c *Client) DetachKeyPair(ctx context.Context, pair string, instances []string) ([]Outcome, error) {
	return c.changeBindings(ctx, "DetachKeyPair", pair, instances)
}

func (c *Client) changeBindings(ctx context.Context, action, pair string, instances []string) ([]Outcome, error) {
	var answer bindingAnswer
	err := c.call(ctx, action, c.parameters("KeyPairName", pair, "InstanceIds", jsonArray(instances)), &answer)
	if err != nil {
		return nil, err
	}
	var outcomes []Outcome
	for _, id := range instances {
		outcomes = append(outcomes, Outcome{InstanceID: id, Err: answer.outcome(action, id, strangeAnswer{action, c.endpoint.Host})})
	}
	return outcomes, nil
}

// outcome is what became of one instance, unknown where the answer does not name it.
func (a bindingAnswer) outcome(action, id string, unknown error) error {
	for _, result := range a.Results.Result {
		switch {
		case string(result.InstanceId) != id:
			continue
		case strings.EqualFold(string(result.Success), "true"):
			return nil
		}
		return &Error{
			Action: action, Code: string(result.Code), Message: string(result.Message),
			RequestID: string(a.RequestId), HTTPStatus: http.StatusOK,
		}
	}
	return unknown
}

// Instance is an instance as DescribeInstances shows it.
type Instance struct {
	ID          string
	Name        string
	HostName    string
	ZoneID      string
	Status      string // Pending, Starting, Running, Stopping or Stopped
	KeyPairName string // empty when none is bound
	OSType      string // "linux" or "windows"
	OSName      string
}

func (i Instance) id() string { return i.ID }

func (i Instance) size() int {
	return len(i.ID) + len(i.Name) + len(i.HostName) + len(i.ZoneID) + len(i.Status) + len(i.KeyPairName) + len(i.OSType) + len(i.OSName)
}

// InstanceFilter chooses instances. What is empty chooses all.
type InstanceFilter struct {
	IDs         []string // at most 100
	KeyPairName string
	Status      string
}

type instancesAnswer struct {
	TotalCount text
	Instances  struct {
		Instance []struct {
			InstanceId, InstanceName, HostName, ZoneId, Status, KeyPairName, OSType, OSName text
		}
	}
}

// Instances yields the instances that the filter chooses, page by page; an error comes last. An id that does not
// exist is not among them. More than MaxInstances are an error.
func (c *Client) Instances(ctx context.Context, f InstanceFilter) iter.Seq2[Instance, error] {
	parameters := c.parameters("KeyPairName", f.KeyPairName, "Status", f.Status)
	if len(f.IDs) > 0 {
		parameters.Set("InstanceIds", jsonArray(f.IDs))
	}
	l := list[Instance]{action: "DescribeInstances", page: instancePage, most: MaxInstances}
	return l.all(parameters, func(page url.Values) ([]Instance, int, error) {
		var answer instancesAnswer
		err := c.read(ctx, l.action, page, &answer)
		return answer.instances(), answer.TotalCount.number(), err
	})
}

func (a instancesAnswer) instances() []Instance {
	var all []Instance
	for _, i := range a.Instances.Instance {
		all = append(all, Instance{
			ID: string(i.InstanceId), Name: string(i.InstanceName), HostName: string(i.HostName), ZoneID: string(i.ZoneId),
			Status: string(i.Status), KeyPairName: string(i.KeyPairName), OSType: string(i.OSType), OSName: string(i.OSName),
		})
	}
	return all
}

// RebootInstance restarts a running instance; force takes its power instead of asking its system. The instance
// is Starting when this returns.
func (c *Client) RebootInstance(ctx context.Context, id string, force bool) error {
	forceStop := ""
	if force {
		forceStop = "true"
	}
	return c.call(ctx, "RebootInstance", c.parameters("InstanceId", id, "ForceStop", forceStop), nil)
}
