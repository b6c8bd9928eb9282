package target

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/latchkey-ssh/latchkey/sshd/target/internal/rooted"
)

// internalSFTP is sshd's name for the SFTP server in itself, for Subsystem and ForceCommand.
const internalSFTP = "internal-sftp"

var errNotForReal = errors.New("internal-sftp would reach all files, where commands are not run for real; it takes a folder of its own, or a root")

// sftpHandler serves SFTP as internal-sftp does when it is given arguments (sftp-server(8)). The folder is that of
// [WithSFTP]; without that option it is the root, and the user begins at home.
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
	folder.Panicked = c.tellPanic
	return func(ctx context.Context, s *Session) int {
		if folder.Dir == "/" {
			folder.Start = s.homeFolder()
		}
		if err := rooted.Serve(ctx, s.Stdin, s.Stdout, folder); err != nil {
			fmt.Fprintln(s.Stderr, err)
			return 255
		}
		return 0
	}, nil
}

// sftpFolder is what SFTP is served in. All of "/" is no more than what commands have, which are run as the same user; but
// it is more than what is left where the options run something in their place.
func (c *connection) sftpFolder(l *login) (rooted.Options, error) {
	o := c.server.options
	switch {
	case o.sftp != "":
		return rooted.Options{Dir: o.sftp}, nil
	case o.root == "/" && o.scripted:
		return rooted.Options{}, errNotForReal
	}
	return rooted.Options{Dir: o.root, Start: l.policy.who.Home}, nil
}

// checkSFTP finds out at once what would fail each session.
func (o *options) checkSFTP() error {
	if o.sftp == "" {
		return nil
	}
	info, err := os.Stat(o.sftp)
	if err == nil && !info.IsDir() {
		err = &fs.PathError{Op: "open", Path: o.sftp, Err: syscall.ENOTDIR}
	}
	if err != nil {
		return fmt.Errorf("serve SFTP: %w", err)
	}
	return nil
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
