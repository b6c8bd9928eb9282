package ecsclient_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-ssh/latchkey/keypair/ecsclient"
)

// silent answers nothing.
type silent struct{}

func (silent) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	time.Sleep(300 * time.Microsecond) // synctest's: an end is noticed a little later
	return nil, r.Context().Err()
}

// cutBody is an answer whose body never comes.
type cutBody struct{}

func (cutBody) RoundTrip(r *http.Request) (*http.Response, error) {
	body, begun := io.Pipe()
	context.AfterFunc(r.Context(), func() { _ = begun.CloseWithError(r.Context().Err()) })
	return &http.Response{StatusCode: http.StatusOK, Body: body, Request: r}, nil
}

func TestSilenceIsTimedAndAnInterruptionIsCalledOne(t *testing.T) {
	forever := func() (context.Context, context.CancelFunc) { return context.Background(), func() {} }
	within := func(limit time.Duration) func() (context.Context, context.CancelFunc) {
		return func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(context.Background(), limit)
		}
	}
	interrupted := func() (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(time.Second, cancel)
		return ctx, cancel
	}
	tests := map[string]struct {
		transport http.RoundTripper
		ctx       func() (context.Context, context.CancelFunc)
		want      string
	}{
		"no answer":              {silent{}, forever, "DeleteKeyPairs at ecs.cn-test.aliyuncs.com: no answer within 30 s"},
		"no body":                {cutBody{}, forever, "DeleteKeyPairs at ecs.cn-test.aliyuncs.com: no answer within 30 s"},
		"no patience":            {silent{}, within(15 * time.Second), "DeleteKeyPairs at ecs.cn-test.aliyuncs.com: no answer within 15 s"},
		"less than a second":     {silent{}, within(50 * time.Millisecond), "DeleteKeyPairs at ecs.cn-test.aliyuncs.com: no answer within 0.05 s"},
		"interrupted":            {silent{}, interrupted, "DeleteKeyPairs at ecs.cn-test.aliyuncs.com: interrupted"},
		"interrupted, half read": {cutBody{}, interrupted, "DeleteKeyPairs at ecs.cn-test.aliyuncs.com: interrupted"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := newClient(t, ecsclient.Options{Region: "cn-test", Credentials: someCredentials, HTTP: &http.Client{
					Transport: test.transport, Timeout: ecsclient.DefaultTimeout,
				}})
				ctx, cancel := test.ctx()
				defer cancel()
				err := client.DeleteKeyPairs(ctx, []string{"web"})
				var lost *ecsclient.NetworkError
				if !errors.As(err, &lost) || err.Error() != test.want {
					t.Errorf("got %v, want %s", err, test.want)
				}
			})
		})
	}
}

func TestPlainHTTPToATLSPortIsTold(t *testing.T) {
	tests := map[string]struct {
		status int
		body   string
		want   bool
	}{
		"Go":            {400, "Client sent an HTTP request to an HTTPS server.\n", true},
		"nginx":         {400, "<html>\r\n<head><title>400 The plain HTTP request was sent to HTTPS port</title></head>", true},
		"Apache":        {400, "<p>Reason: You're speaking plain HTTP to an SSL-enabled server port.", true},
		"a bad request": {400, "Bad Request", false},
		"a proxy":       {502, "Client sent an HTTP request to an HTTPS server.", false},
		"ECS":           {400, `{"Code":"X","Message":"plain HTTP request to an HTTPS port"}`, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			client := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(test.status)
				_, _ = io.WriteString(w, test.body)
			})
			_, err := client.CreateKeyPair(context.Background(), ecsclient.NewKeyPair{Name: "web"})
			if errors.Is(err, ecsclient.ErrSpeaksTLS) != test.want {
				t.Errorf("got %v", err)
			}
			if strings.Contains(err.Error(), "<") {
				t.Errorf("the page is shown: %v", err)
			}
		})
	}
}
