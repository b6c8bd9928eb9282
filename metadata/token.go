package metadata

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The hardened mode's words.
const (
	tokenPath      = "/latest/api/token"
	tokenTTLHeader = "X-Aliyun-Ecs-Metadata-Token-Ttl-Seconds"
	tokenHeader    = "X-Aliyun-Ecs-Metadata-Token"
	maxTokenTTL    = 21600 * time.Second
	maxToken       = 4096 // bytes
)

// token is what goes with every read in hardened mode, until it is time for another.
type token struct {
	text  string
	renew time.Time
}

// currentToken returns the token to read with, taking a new one when there is none or the
// one there is nears its end. It is empty when reads are to go without.
func (c *Client) currentToken(ctx context.Context) (string, error) {
	if c.options.Token == TokenOff {
		return "", nil
	}
	if text := c.cachedToken(); text != "" {
		return text, nil
	}
	asked := time.Now() // its life is counted from here at the latest
	text, err := c.requestToken(ctx)
	if err != nil {
		return "", fmt.Errorf("take a token from %s%s: %w", c.base, tokenPath, err)
	}
	c.keepToken(text, asked)
	return text, nil
}

func (c *Client) cachedToken() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Now().Before(c.token.renew) {
		return c.token.text
	}
	return ""
}

// keepToken remembers a token for nine tenths of its life, so that it never ends in the
// middle of a fetch.
func (c *Client) keepToken(text string, asked time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.token = token{text: text, renew: asked.Add(c.options.TokenTTL / 10 * 9)}
}

// dropToken forgets a token that the endpoint no longer takes, unless another is there already.
func (c *Client) dropToken(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token.text == text {
		c.token = token{}
	}
}

// requestToken asks for a token. In mode auto it returns none when the endpoint says that it
// has none to give (tokenless). Silence or trouble is no such answer: going on without a
// token then would be a downgrade that anyone who can drop a packet could force.
func (c *Client) requestToken(ctx context.Context) (string, error) {
	header := http.Header{
		tokenTTLHeader:    {strconv.Itoa(int(c.options.TokenTTL / time.Second))},
		"Idempotency-Key": nil, // never sent; lets the transport repeat the PUT when a kept connection turns out closed
	}
	got, err := c.send(ctx, http.MethodPut, tokenPath, header)
	switch {
	case err != nil:
		return "", err
	case c.options.Token == TokenAuto && tokenless(got.status):
		return "", nil
	}
	if err := checkStatus(got.status); err != nil {
		return "", err
	}
	return parseToken(got.body)
}

// tokenless reports whether a status means that there is no hardened mode: the path or the
// verb is not known, or PUT is refused to this client (as it is behind a proxy that adds
// X-Forwarded-For). Whether reads may go without a token the endpoint then decides itself.
func tokenless(status int) bool {
	switch status {
	case http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return true
	}
	return false
}

// parseToken takes one word of visible ASCII: it becomes a header of every request.
func parseToken(body string) (string, error) {
	text := chomp(body)
	if looksLikePage(text) {
		return "", errWebPage
	}
	notVisible := func(r rune) bool { return r <= ' ' || r > '~' }
	if text == "" || len(text) > maxToken || strings.ContainsFunc(text, notVisible) {
		return "", errors.New("what came is not a token")
	}
	return text, nil
}
