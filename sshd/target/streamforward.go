package target

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"

	glssh "github.com/gliderlabs/ssh"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// The messages are those of OpenSSH's PROTOCOL, section 2.4: forwarding of Unix-domain sockets.
type (
	directStreamLocal struct {
		Path       string
		Originator string // reserved
		OriginPort uint32 // reserved
	}
	streamLocalForward   struct{ Path string }
	forwardedStreamLocal struct {
		Path     string
		Reserved string
	}
)

var errNoPath = errors.New("no path")

// socketPath is the file that a client names. A relative one is below "/", where sshd is; so that the net package, to
// which a leading @ is no file, sees a file too.
func socketPath(path string) string {
	if path[0] == '/' {
		return path
	}
	return "/" + path
}

// serveDirectStreamLocal serves a channel to a Unix-domain socket. A refusal has the same code as a failure, as in sshd.
func (c *connection) serveDirectStreamLocal(l *login, conn *ssh.ServerConn, channel ssh.NewChannel, ctx glssh.Context) {
	var asked directStreamLocal
	if !c.parse(conn, channel.ChannelType(), channel.ExtraData(), &asked, &asked.Path) {
		return
	}
	event := Event{Kind: Forward, Request: channel.ChannelType(), Target: asked.Path}
	switch denied := l.mayOpenPath(asked.Path); {
	case denied != nil:
		c.rejectForward(channel, event, ssh.ConnectionFailed, denied)
	case asked.Path == "":
		c.rejectForward(channel, event, ssh.ConnectionFailed, errNoPath)
	default:
		c.forwardTo(ctx, channel, event, "unix", socketPath(asked.Path))
	}
}

// answerStreamLocalForward listens on a Unix-domain socket.
func (c *connection) answerStreamLocalForward(l *login, conn *ssh.ServerConn, request *ssh.Request, ctx glssh.Context) (bool, []byte) {
	var asked streamLocalForward
	if !c.parse(conn, request.Type, request.Payload, &asked, &asked.Path) {
		return false, nil
	}
	sockets, err := listenStreamLocal(ctx, l, asked.Path)
	payload := ssh.Marshal(forwardedStreamLocal{Path: asked.Path})
	return c.answerListener(ctx, conn, request, &forwardListener{
		sockets: sockets, network: "unix", host: asked.Path, channelType: "forwarded-streamlocal@openssh.com",
		payload: func(net.Conn) []byte { return payload },
	}, nil, err)
}

func (c *connection) answerCancelStreamLocalForward(_ *login, conn *ssh.ServerConn, request *ssh.Request, _ glssh.Context) (bool, []byte) {
	var asked streamLocalForward
	if !c.parse(conn, request.Type, request.Payload, &asked, &asked.Path) {
		return false, nil
	}
	return c.answerCancel(request, "unix", asked.Path, 0), nil
}

// listenStreamLocal makes the socket. As with sshd its file outlives it, and one that is there already is in the way
// unless StreamLocalBindUnlink is on.
func listenStreamLocal(ctx context.Context, l *login, asked string) ([]net.Listener, error) {
	if err := l.mayListenPath(); err != nil {
		return nil, err
	}
	if asked == "" {
		return nil, errNoPath
	}
	path := socketPath(asked)
	mask, err := bindMask(l.policy.value("streamlocalbindmask"))
	if err != nil {
		return nil, err
	}
	if l.policy.is("streamlocalbindunlink") {
		if err := unix.Unlink(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("unlink %s: %w", path, err)
		}
	}
	config := net.ListenConfig{Control: maskSocket(mask)}
	socket, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	socket.(*net.UnixListener).SetUnlinkOnClose(false)
	return []net.Listener{socket}, nil
}

// maskSocket takes permissions from a socket before it has a name, so that there is no moment at which others may
// connect. The mask of the process, umask(2), is not touched: it takes its own share.
func maskSocket(mask uint32) func(string, string, syscall.RawConn) error {
	return func(_, _ string, socket syscall.RawConn) error {
		var err error
		if controlErr := socket.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o777&^mask) }); controlErr != nil {
			return controlErr
		}
		return err
	}
}
