package manage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/latchkey-ssh/latchkey/keypair"
)

// Client speaks to the management socket of a region.
type Client struct {
	socket string
	http   *http.Client
}

// timeout bounds one request: nothing that is asked for takes long.
const timeout = 30 * time.Second

// NewClient returns a client of the socket at that path.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var dialer net.Dialer
		return dialer.DialContext(ctx, "unix", socket)
	}
	transport := &http.Transport{DialContext: dial, DisableKeepAlives: true}
	return &Client{socket, &http.Client{Transport: transport, Timeout: timeout}}
}

// Instances returns the instances, the oldest first.
func (c *Client) Instances(ctx context.Context) (instances []Instance, err error) {
	return instances, c.do(ctx, http.MethodGet, "/instances", nil, &instances)
}

// Register makes an instance known and returns it as it is known.
func (c *Client) Register(ctx context.Context, instance keypair.Instance) (known keypair.Instance, err error) {
	return known, c.do(ctx, http.MethodPost, "/instances", instance, &known)
}

// Change replaces what is known about an instance, all but its binding and its status.
func (c *Client) Change(ctx context.Context, instance keypair.Instance) (known keypair.Instance, err error) {
	return known, c.do(ctx, http.MethodPut, "/instances/"+url.PathEscape(instance.ID), instance, &known)
}

// Remove forgets an instance and its binding.
func (c *Client) Remove(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodDelete, "/instances/"+url.PathEscape(id), nil, nil)
}

// SetStatus says that an instance is in that status.
func (c *Client) SetStatus(ctx context.Context, id string, s keypair.Status) error {
	return c.do(ctx, http.MethodPut, "/instances/"+url.PathEscape(id)+"/status", status{s}, nil)
}

// Misbehave makes the instance's metadata endpoint go wrong, as imds.Endpoint.Misbehave does.
func (c *Client) Misbehave(ctx context.Context, id, kind string, on ...string) error {
	return c.do(ctx, http.MethodPut, "/instances/"+url.PathEscape(id)+"/misbehaviour", misbehaviour{kind, on}, nil)
}

// AccessKeys returns the access keys without their secrets.
func (c *Client) AccessKeys(ctx context.Context) (keys []keypair.AccessKey, err error) {
	return keys, c.do(ctx, http.MethodGet, "/access-keys", nil, &keys)
}

// CreateAccessKey makes an access key. Nobody is told its secret again.
func (c *Client) CreateAccessKey(ctx context.Context, comment string) (key keypair.AccessKey, err error) {
	return key, c.do(ctx, http.MethodPost, "/access-keys", accessKey{Comment: comment}, &key)
}

// EnableAccessKey lets an access key call the API, or no longer.
func (c *Client) EnableAccessKey(ctx context.Context, id string, enabled bool) error {
	return c.do(ctx, http.MethodPut, "/access-keys/"+url.PathEscape(id), accessKey{Disabled: !enabled}, nil)
}

// DeleteAccessKey forgets an access key.
func (c *Client) DeleteAccessKey(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodDelete, "/access-keys/"+url.PathEscape(id), nil, nil)
}

// ResourceGroups returns the resource groups.
func (c *Client) ResourceGroups(ctx context.Context) (groups []keypair.ResourceGroup, err error) {
	return groups, c.do(ctx, http.MethodGet, "/resource-groups", nil, &groups)
}

// AddResourceGroup makes a group known, or names it anew.
func (c *Client) AddResourceGroup(ctx context.Context, group keypair.ResourceGroup) error {
	return c.do(ctx, http.MethodPost, "/resource-groups", group, nil)
}

// RemoveResourceGroup forgets a group in which no key pair is.
func (c *Client) RemoveResourceGroup(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodDelete, "/resource-groups/"+url.PathEscape(id), nil, nil)
}

// do asks for something and reads the answer into result, unless that is nil.
func (c *Client) do(ctx context.Context, method, path string, body, result any) error {
	response, err := c.send(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("read what %s answers: %w", c.socket, err)
	}
	if response.StatusCode != http.StatusOK {
		return refused(response, text)
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(text, result)
}

func (c *Client) send(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://keypaird"+path, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return nil, wrapped.Err // it names the socket; the made-up URL would mislead
	}
	return response, err
}

func refused(response *http.Response, text []byte) error {
	var why failure
	if json.Unmarshal(text, &why) != nil || why.Error == "" {
		why.Error = response.Status
	}
	return errors.New(why.Error)
}
