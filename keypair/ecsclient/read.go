package ecsclient

import (
	"context"
	"encoding/json"
	"net/url"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// maxTries is how often something is read, at most.
const maxTries = 4

// read is call for what changes nothing: it tries again, with a signature of its own each time, when the
// service is short of breath.
func (c *Client) read(ctx context.Context, action string, parameters url.Values, answer any) error {
	pace := &backoff.ExponentialBackOff{
		InitialInterval: 200 * time.Millisecond, Multiplier: 2, RandomizationFactor: 0.5, MaxInterval: 2 * time.Second,
	}
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := c.call(ctx, action, parameters, answer)
		if err != nil && !passing(err) {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(pace), backoff.WithMaxTries(maxTries))
	return err
}

// text is a string on the wire, or a number or a boolean: services differ.
type text string

func (t *text) UnmarshalJSON(raw []byte) error {
	var word string
	if json.Unmarshal(raw, &word) == nil {
		*t = text(word)
		return nil
	}
	var other any
	if err := json.Unmarshal(raw, &other); err != nil {
		return err
	}
	switch other.(type) {
	case float64, bool:
		*t = text(raw)
	default: // an object says nothing that is asked for
	}
	return nil
}

func (t text) number() int {
	n, _ := strconv.Atoi(string(t))
	return n
}

// date is a time to the minute, or zero where there is none.
func (t text) date() time.Time {
	for _, layout := range []string{"2006-01-02T15:04Z07:00", time.RFC3339} {
		if at, err := time.Parse(layout, string(t)); err == nil {
			return at.UTC()
		}
	}
	return time.Time{}
}
