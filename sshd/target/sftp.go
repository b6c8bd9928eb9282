package target

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/latchkey-ssh/latchkey/sshd/target/internal/rooted"
)

// internalSFTP is sshd's name for the SFTP server in itself, for Subsystem and ForceCommand.
const internalSFTP = "internal-sftp"

var errNoFolder = errors.New("internal-sftp is served below a root only, see WithRoot and WithSFTP")

// sftpHandler serves SFTP as internal-sftp does when it is given arguments (sftp-server(8)). The folder is that of
// [WithSFTP]; with a configuration and without that option it is the root, where there is one, and the user begins at home.
//
// An argument that restricts, and is not known here, is an error.
func (c *connection) sftpHandler(l *login, arguments string) (Handler, error) {
	folder, err := c.sftpFolder(l)
	if err != nil {
		return nil, err
	}
	if folder.ReadOnly, err = sftpReadOnly(strings.Fields(arguments)); err != nil {
		return nil, err
	}
	return func(ctx context.Context, s *Session) int {
		if err := rooted.Serve(ctx, s.Stdin, s.Stdout, folder); err != nil {
			fmt.Fprintln(s.Stderr, err)
			return 255
		}
		return 0
	}, nil
}

func (c *connection) sftpFolder(l *login) (rooted.Options, error) {
	if dir := c.server.options.sftp; dir != "" {
		return rooted.Options{Dir: dir}, nil
	}
	root := filepath.Join("/", c.server.options.root)
	if !c.config.given || root == "/" {
		return rooted.Options{}, errNoFolder
	}
	return rooted.Options{Dir: root, Start: l.policy.who.Home}, nil
}

// sftpReadOnly tells whether -R is given. What concerns the log is passed over.
func sftpReadOnly(arguments []string) (readOnly bool, err error) {
	for i := 0; i < len(arguments); i++ {
		switch arguments[i] {
		case "-R":
			readOnly = true
		case "-e":
		case "-f", "-l":
			i++
		default:
			return false, fmt.Errorf("internal-sftp: argument %s is not supported by this server, only by sshd", arguments[i])
		}
	}
	return readOnly, nil
}
