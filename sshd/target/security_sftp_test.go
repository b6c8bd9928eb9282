package target

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/pkg/sftp"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// filesCommand is one request of SFTP, in a session of its own:
//
//	get PATH           its content is the standard output
//	put PATH TEXT      the file's content is then TEXT
//	ls PATH            the names are the standard output
//	chmod PATH, rm PATH, mkdir PATH
//	symlink TEXT PATH, link OLD NEW, rename OLD NEW
//	always PATH TEXT   opens it until it was opened, and refused, a hundred times: its content is always TEXT
func filesCommand(ts *testscript.TestScript, neg bool, args []string) {
	files, err := sftp.NewClient(attackOf(ts).client)
	ts.Check(err)
	defer files.Close()
	second := ""
	if len(args) > 2 {
		second = args[2]
	}
	verdict(ts, neg, request(ts, files, args[0], args[1], second), fmt.Sprint("sftp ", args))
}

func request(ts *testscript.TestScript, files *sftp.Client, verb, first, second string) error {
	switch verb {
	case "get":
		return get(ts.Stdout(), files, first)
	case "put":
		return put(files, first, second)
	case "ls":
		return list(ts.Stdout(), files, first)
	case "chmod":
		return files.Chmod(first, 0o777)
	case "rm":
		return files.Remove(first)
	case "mkdir":
		return files.Mkdir(first)
	case "symlink":
		return files.Symlink(first, second)
	case "link":
		return files.Link(first, second)
	case "rename":
		return files.PosixRename(first, second)
	case "always":
		return always(files, first, second)
	}
	ts.Fatalf("sftp %s: unknown verb", verb)
	return nil
}

func get(to io.Writer, files *sftp.Client, path string) error {
	f, err := files.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(to, struct{ io.Reader }{f}) // by reading alone
	return err
}

func put(files *sftp.Client, path, text string) error {
	f, err := files.Create(path)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, text)
	return errors.Join(err, f.Close())
}

func list(to io.Writer, files *sftp.Client, path string) error {
	entries, err := files.ReadDir(path)
	for _, e := range entries {
		fmt.Fprintln(to, e.Name())
	}
	return err
}

func always(files *sftp.Client, path, text string) error {
	const enough, most = 100, 10_000
	opened, refused := 0, 0
	for range most {
		if opened >= enough && refused >= enough {
			return nil
		}
		f, err := files.Open(path)
		if err != nil {
			refused++
			continue
		}
		content, err := io.ReadAll(f)
		_ = f.Close()
		if err == nil && strings.TrimSpace(string(content)) != text {
			return fmt.Errorf("read %q", content)
		}
		opened++
	}
	return fmt.Errorf("opened %d times, refused %d times: there was hardly a race", opened, refused)
}

func swapCommand(ts *testscript.TestScript, _ bool, args []string) {
	a, b := ts.MkAbs(args[0]), ts.MkAbs(args[1])
	ts.Check(unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE))
	stop := make(chan struct{})
	var ended sync.WaitGroup
	ended.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
			}
		}
	})
	ts.Defer(func() { close(stop); ended.Wait() })
}
