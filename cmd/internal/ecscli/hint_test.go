package ecscli

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/latchkey-ssh/latchkey/keypair/ecsclient"
)

func TestOnlyAFailureOfTheConnectionIsBlamedOnTheEndpoint(t *testing.T) {
	lost := func(host string, err error) error {
		return fmt.Errorf("after 0 of 2: %w", &ecsclient.NetworkError{Action: "DescribeKeyPairs", Host: host, Err: err})
	}
	dial := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	notFound := func(host string) error { return dial(&net.DNSError{Err: "no such host", Name: host, IsNotFound: true}) }
	plain := func(err error) error { return &ecsclient.NetworkError{Host: "h", Plain: true, Sent: true, Err: err} }
	const (
		ownRegion = "LATCHKEY_ECS_ENDPOINT"
		endpoint  = "does its service run? see --endpoint"
		orTLS     = "if it speaks TLS, write it with https://"
	)
	tests := map[string]struct {
		err  error
		want string // part of the hint; "" for none
	}{
		"a folder that may not be written": {&fs.PathError{Op: "open", Path: "web.pem", Err: syscall.EACCES}, ""},
		"no such file":                     {&fs.PathError{Op: "open", Path: "nosuch.pub", Err: syscall.ENOENT}, ""},
		"a full disk":                      {&fs.PathError{Op: "write", Path: "/dev/stdout", Err: syscall.ENOSPC}, ""},
		"a reader that has gone":           {&fs.PathError{Op: "write", Path: "|1", Err: syscall.EPIPE}, ""},
		"interrupted":                      {lost("h", context.Canceled), ""},
		"refused":                          {lost("127.0.0.1:1", dial(syscall.ECONNREFUSED)), endpoint},
		"silent":                           {lost("h", context.DeadlineExceeded), endpoint},
		"an own host that is not found":    {lost("ecs.desk.example", notFound("ecs.desk.example")), endpoint},
		"no region of the cloud's":         {lost("ecs.local.aliyuncs.com", notFound("ecs.local.aliyuncs.com")), ownRegion},
		"a proxy that is not found":        {lost("ecs.cn-test.aliyuncs.com", notFound("proxy.example")), endpoint},
		"hung up on":                       {plain(io.EOF), orTLS},
		"reset":                            {plain(dial(syscall.ECONNRESET)), orTLS},
		"reset in TLS":                     {lost("h", dial(syscall.ECONNRESET)), endpoint},
		"a TLS alert":                      {plain(errors.New(`malformed HTTP response "\x15\x03\x01"`)), speaksTLS},
		"an unknown authority":             {lost("h", x509.UnknownAuthorityError{}), "SSL_CERT_FILE"},
		"not ECS's":                        {&ecsclient.Error{HTTPStatus: 403}, "is the endpoint right? see --endpoint"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := hint(test.err); !strings.Contains(got, test.want) || test.want == "" && got != "" {
				t.Errorf("got %q, want %q in it", got, test.want)
			}
		})
	}
}
