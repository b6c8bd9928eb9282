package authkeys

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"syscall"
)

// editInNewFolder makes the folders on the way to the file and edits it. They go
// again if that fails.
func (l Location) editInNewFolder(ctx context.Context, edit func(*File) ([]byte, error)) (Change, error) {
	if !l.belowHome() {
		return Change{}, fmt.Errorf("%s: %w", path.Dir(l.Path), errNoFolder)
	}
	var made []string
	err := l.visit(ctx, func(p *place) (err error) {
		made, err = p.makeFolders()
		return err
	})
	if err != nil {
		return Change{}, err
	}
	l.label(ctx, made)
	change, err := l.edit(ctx, edit)
	if err != nil {
		_ = l.visit(ctx, func(p *place) error {
			removeFolders(p.base, made)
			return nil
		})
	}
	return change, err
}

// makeFolders makes the missing folders down to the file's, with mode 0700, and
// returns their names relative to the base, outermost first.
func (p *place) makeFolders() (made []string, err error) {
	name := "."
	for part := range strings.SplitSeq(p.folder, "/") {
		name = path.Join(name, part)
		err := makeFolder(p.base, name)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			removeFolders(p.base, made)
			return nil, fmt.Errorf("make folder %s: %w", name, cause(err))
		}
		made = append(made, name)
	}
	return made, nil
}

// makeFolder sets the mode on the descriptor: a umask may have taken bits away.
func makeFolder(base *os.Root, name string) error {
	if err := base.Mkdir(name, 0o700); err != nil {
		return err
	}
	if err := base.Chmod(name, 0o700); err != nil {
		return errors.Join(err, base.Remove(name))
	}
	parent, err := openDir(base, path.Dir(name))
	if err != nil {
		return err
	}
	defer parent.Close()
	if err := parent.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) {
		return err
	}
	return nil
}

// removeFolders removes those that are still empty.
func removeFolders(base *os.Root, made []string) {
	for i := len(made) - 1; i >= 0; i-- {
		_ = base.Remove(made[i])
	}
}

// label gives new folders the SELinux label that the policy has for their names,
// which files made in them take on: .ssh in a home is not labelled as the home
// is, and sshd may read nothing else. It is done as the user. If it fails, the
// proof that a key logs in fails and tells.
func (l Location) label(ctx context.Context, made []string) {
	if len(made) == 0 || l.Root != "/" || !hasSELinux() {
		return
	}
	command := exec.CommandContext(ctx, "/sbin/restorecon", "--")
	for _, name := range made {
		command.Args = append(command.Args, filepath.Join(l.Home, name))
	}
	command.Dir = "/"
	command.Env = []string{}
	if os.Geteuid() == 0 {
		command.SysProcAttr = &syscall.SysProcAttr{Credential: l.processCredential()}
	}
	_ = command.Run()
}

func (l Location) processCredential() *syscall.Credential {
	credential := &syscall.Credential{Uid: uint32(l.UID), Gid: uint32(l.GID)}
	for _, group := range l.Groups {
		credential.Groups = append(credential.Groups, uint32(group))
	}
	return credential
}

func hasSELinux() bool {
	_, err := os.Stat("/sys/fs/selinux/enforce")
	return err == nil
}
