package demo

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/latchkey-ssh/latchkey/keypair/imds"
)

// serveEndpoint serves the instance's metadata on a loopback port.
func (d *demo) serveEndpoint() error {
	d.endpoint = imds.New(imds.Instance{
		ID: "i-demo", Hostname: "demo", RegionID: "local", ZoneID: "local-a",
		HTTPTokens: imds.TokensOptional, HTTPEndpoint: imds.EndpointEnabled,
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: d.endpoint, ReadHeaderTimeout: 5 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	d.url = "http://" + listener.Addr().String()
	d.onClose(func() error {
		if err := server.Shutdown(context.Background()); err != nil {
			return err
		}
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	return nil
}
