package ecsclient

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/latchkey-ssh/latchkey/keypair/ecsapi/signature"
)

const (
	apiVersion = "2014-05-26"
	maxAnswer  = 8 << 20 // bytes; a page of 100 instances has less than 1 MiB
)

// DefaultTimeout bounds one request, its answer included.
const DefaultTimeout = 30 * time.Second

// Options say whom to call, and as whom.
type Options struct {
	Region      string      // such as "cn-hangzhou"
	Endpoint    string      // "https://HOST[:PORT]", "http://…" or HOST[:PORT] for https; the cloud's own in that region when empty
	Credentials Credentials // an access key, or a temporary one with its token

	// HTTP makes the requests; nil for one that takes proxies from the environment (http.ProxyFromEnvironment)
	// and DefaultTimeout. Redirects are not followed, whatever it says.
	HTTP *http.Client
}

// Credentials are an access key. The secret signs and is never sent; print them and only the id
// is seen.
type Credentials struct {
	AccessKeyID     string
	AccessKeySecret string `json:"-"`
	SecurityToken   string `json:"-"` // of the security token service (STS); empty for a lasting access key
}

func (c Credentials) String() string { return c.AccessKeyID }

// GoString keeps the secret out of %#v.
func (c Credentials) GoString() string { return c.AccessKeyID }

// sign signs a request without a body, with a nonce of its own.
func (c Credentials) sign(r *http.Request) {
	key := signature.AccessKey{ID: c.AccessKeyID, Secret: c.AccessKeySecret, SecurityToken: c.SecurityToken}
	signature.SignV3(r, nil, key, time.Now(), rand.Text())
}

// Client calls one region's API. Its methods may be called by several goroutines.
type Client struct {
	region   string
	endpoint url.URL
	sign     func(*http.Request) // holds the secret, where fmt does not look
	http     *http.Client
}

var regionID = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`) // it becomes part of a host name

// New returns a client; nothing is sent yet.
func New(o Options) (*Client, error) {
	if !regionID.MatchString(o.Region) {
		return nil, fmt.Errorf("region %q: want lower-case letters, digits and -", o.Region)
	}
	if o.Endpoint == "" {
		o.Endpoint = "https://ecs." + o.Region + ".aliyuncs.com"
	}
	endpoint, err := parseEndpoint(o.Endpoint)
	if err != nil {
		return nil, err
	}
	if o.Credentials.AccessKeyID == "" || o.Credentials.AccessKeySecret == "" {
		return nil, errors.New("no access key")
	}
	client := &http.Client{Timeout: DefaultTimeout}
	if o.HTTP != nil {
		*client = *o.HTTP
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{region: o.Region, endpoint: endpoint, sign: o.Credentials.sign, http: client}, nil
}

// parseEndpoint reads a URL, or a host alone, which stands for https.
func parseEndpoint(text string) (url.URL, error) {
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	endpoint, err := url.Parse(text)
	switch {
	case err != nil:
	case endpoint.Scheme != "https" && endpoint.Scheme != "http", endpoint.Hostname() == "", endpoint.User != nil,
		strings.Trim(endpoint.Path, "/") != "", endpoint.RawQuery != "", endpoint.Fragment != "":
	default:
		return url.URL{Scheme: endpoint.Scheme, Host: endpoint.Host, Path: "/"}, nil
	}
	// What was given is not shown: there may be a password in it.
	return url.URL{}, errors.New("endpoint: want https://HOST[:PORT] or http://HOST[:PORT]")
}

// Endpoint is where the client calls.
func (c *Client) Endpoint() string { return c.endpoint.Scheme + "://" + c.endpoint.Host }

// call makes one request and reads its answer into answer, a pointer or nil.
func (c *Client) call(ctx context.Context, action string, parameters url.Values, answer any) error {
	status, body, err := c.send(ctx, action, parameters)
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return readError(action, status, body)
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(body, answer); err != nil {
		return strangeAnswer{action, c.endpoint.Host}
	}
	return nil
}

// send makes one request and returns the answer, whatever it is. Without one the error is a *NetworkError.
func (c *Client) send(ctx context.Context, action string, parameters url.Values) (status int, body []byte, err error) {
	var connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	request, err := c.request(ctx, action, parameters)
	if err != nil {
		return 0, nil, err
	}
	began := time.Now()
	response, err := c.http.Do(request)
	if err == nil {
		defer response.Body.Close()
		status = response.StatusCode
		body, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	}
	if err == nil {
		return status, body, nil
	}
	// A url.Error would show the whole query.
	var inURL *url.Error
	if errors.As(err, &inURL) {
		err = inURL.Err
	}
	return 0, nil, &NetworkError{
		Action: action, Host: c.endpoint.Host, Plain: c.endpoint.Scheme == "http",
		Sent: connected.Load(), Waited: time.Since(began), Err: err,
	}
}

func (c *Client) request(ctx context.Context, action string, parameters url.Values) (*http.Request, error) {
	target := c.endpoint
	target.RawQuery = parameters.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "latchkey")
	request.Header.Set("x-acs-action", action)
	request.Header.Set("x-acs-version", apiVersion)
	c.sign(request)
	return request, nil
}

// parameters are those of a request in the client's region.
func (c *Client) parameters(pairs ...string) url.Values {
	values := url.Values{"RegionId": {c.region}}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			values.Set(pairs[i], pairs[i+1])
		}
	}
	return values
}

// jsonArray is how ECS takes a list of ids or names in one parameter.
func jsonArray(items []string) string {
	text, _ := json.Marshal(items) // strings always marshal
	return string(text)
}
