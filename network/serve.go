package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
)

// Serve answers what is asked on conn until the other side closes it, or ctx
// ends. Whatever is being asked then is given up.
func Serve(ctx context.Context, conn *net.UnixConn) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	_ = conn.SetWriteBuffer(maxMessage) // a packet has to fit whole; as far as the kernel allows
	if err := send(conn, reply{}); err != nil {
		return fmt.Errorf("greet: %w", err)
	}
	requests := make(chan request)
	failed := make(chan error, 1)
	go func() {
		defer cancel()
		failed <- listen(ctx, conn, requests)
	}()
	side := &Local{}
	defer side.Rest()
	for {
		select {
		case r := <-requests:
			if err := answer(ctx, side, conn, r); err != nil {
				return err
			}
		case <-ctx.Done():
			return <-failed
		}
	}
}

// listen passes on what is asked, until there is nothing more.
func listen(ctx context.Context, conn *net.UnixConn, requests chan<- request) error {
	for {
		var r request
		files, err := receive(conn, &r)
		closeAll(files)
		if errors.Is(err, io.EOF) || ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read a request: %w", err)
		}
		select {
		case requests <- r:
		case <-ctx.Done():
			return nil
		}
	}
}

// answer does what is asked and says what came of it.
func answer(ctx context.Context, side *Local, conn *net.UnixConn, r request) error {
	within := ctx
	if r.Within > 0 {
		var cancel context.CancelFunc
		within, cancel = context.WithTimeout(ctx, r.Within)
		defer cancel()
	}
	out, files := do(within, side, r)
	defer closeAll(files)
	err := send(conn, out, files...)
	if ctx.Err() != nil {
		return nil // nobody waits for it any more
	}
	if err != nil {
		return fmt.Errorf("reply: %w", err)
	}
	return nil
}

func do(ctx context.Context, side *Local, r request) (reply, []*os.File) {
	switch {
	case r.Fetch != nil:
		binding := side.Fetch(ctx, *r.Fetch)
		return reply{Binding: &binding}, nil
	case r.Watch != nil:
		return watch(ctx, side, r), nil
	case r.Ask != nil:
		answer := side.Ask(ctx, *r.Ask, r.Persist)
		return reply{Answer: &answer}, nil
	case r.Loopback:
		return loopback(ctx, side)
	}
	return reply{Error: "nothing that is known here was asked for"}, nil
}

// watch waits as long as its asker does, less what the way there and back takes.
func watch(ctx context.Context, side *Local, r request) reply {
	changed, err := side.Watch(ctx, *r.Watch, r.ETag, r.Within-watchGrace)
	if err != nil {
		return reply{Error: err.Error()}
	}
	return reply{Changed: &changed}
}

func loopback(ctx context.Context, side *Local) (reply, []*os.File) {
	conn, theirs, err := side.Loopback(ctx)
	if err != nil {
		return reply{Error: err.Error()}, nil
	}
	defer conn.Close()
	ours, err := conn.(*net.TCPConn).File()
	if err != nil {
		_ = theirs.Close()
		return reply{Error: err.Error()}, nil
	}
	return reply{}, []*os.File{ours, theirs}
}
