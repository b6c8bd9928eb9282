package target

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// sftpServer serves a folder to alice, who sits with a file "f", a program "run" and a folder "tree".
func sftpServer(t *testing.T) (server *Server, s *seat, dir string) {
	t.Helper()
	key := newKey(t)
	dir = t.TempDir()
	server = Start(t, WithAuthorizedKeys(key.Line), WithSFTP(dir))
	s = sit(t, server, key)
	s.write(t, "f", strings.Repeat("content\n", 50_000))
	s.write(t, "run", "#!/bin/sh\n")
	s.write(t, "tree/one", "1")
	s.write(t, "tree/sub/two", "2")
	return server, s, dir
}

func TestOpenSSHsSFTPDoesAllThatItOffers(t *testing.T) {
	server, s, dir := sftpServer(t)
	content := readFile(t, filepath.Join(s.dir, "f"))
	for _, test := range []struct {
		name, batch string
		status      int
		output      []string
		files       map[string]string // name in the folder: content; "" for gone
	}{
		{"put and get", "put f\nget f g\n", 0, nil, map[string]string{"f": content}},
		{"put with times and mode", "put -p run\nls -l run\n", 0, []string{"-rwx------"}, map[string]string{"run": "#!/bin/sh\n"}},
		{
			"folders", "mkdir /d\nput tree/one /d/one\ncd d\npwd\nls\nrm one\ncd ..\nrmdir d\n", 0,
			[]string{"/d\n", "one"},
			map[string]string{"d": ""},
		},
		{"whole trees", "put -R tree\nget -R tree back\nls tree/sub\n", 0, []string{"tree/sub/two"}, map[string]string{"tree/sub/two": "2"}},
		{"rename", "put tree/one a\nput tree/one b\nrename a b\n", 0, nil, map[string]string{"a": "", "b": "1"}},
		{"rename without replacing", "put tree/one a\nrename -l a b\n", 1, nil, map[string]string{"a": "1", "b": "1"}},
		{
			"links", "ln -s f link\nget link\nls -l\nln f hard\n", 0,
			[]string{"lrwxrwxrwx"},
			map[string]string{"hard": content},
		},
		{"attributes", "chmod 600 f\nls -l f\ndf\n", 0, []string{"-rw-------"}, nil},
		{"resume", "put tree/one grow\nreput f grow\n", 0, nil, map[string]string{"grow": "1" + content[1:]}},
		{"what is not there", "get nothing\n", 1, nil, nil},
		{"a folder with something in it", "rmdir tree\n", 1, nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := s.run(t, "", "sftp", "-F", s.config, "-b", s.write(t, "batch", test.batch), "target")
			if got.status != test.status {
				t.Errorf("%+v", got)
			}
			for _, part := range test.output {
				if !strings.Contains(got.stdout, part) {
					t.Errorf("no %q in %s", part, got.stdout)
				}
			}
			for name, want := range test.files {
				data, err := os.ReadFile(filepath.Join(dir, name))
				if want == "" && !os.IsNotExist(err) || string(data) != want {
					t.Errorf("%s: %d bytes, %v", name, len(data), err)
				}
			}
		})
	}
	if readFile(t, filepath.Join(s.dir, "g")) != content {
		t.Error("what came back is not what was put")
	}
	if diff := cmp.Diff("2", readFile(t, filepath.Join(s.dir, "back/sub/two"))); diff != "" {
		t.Error(diff)
	}
	if n := count(server, func(e Event) bool { return e.Kind == Command && e.Subsystem == "sftp" }); n != 11 {
		t.Errorf("%d sessions of SFTP on record", n)
	}
}

func TestSCPCopiesByBothOfItsProtocols(t *testing.T) {
	server, s, dir := sftpServer(t)
	real := t.TempDir()
	for name, test := range map[string]struct {
		options []string
		remote  string // the folder as the client names it
		folder  string // and where that is
	}{
		"SFTP":        {nil, "/", dir},
		"its own one": {[]string{"-O"}, real, real},
	} {
		t.Run(name, func(t *testing.T) {
			scp := func(args ...string) {
				t.Helper()
				args = append(append([]string{"-F", s.config, "-r", "-p"}, test.options...), args...)
				if got := s.run(t, "", "scp", args...); got.status != 0 {
					t.Fatalf("scp %q: %+v", args, got)
				}
			}
			scp("tree", "f", "run", "target:"+test.remote)
			if diff := cmp.Diff("2", readFile(t, filepath.Join(test.folder, "tree/sub/two"))); diff != "" {
				t.Error(diff)
			}
			if info, err := os.Stat(filepath.Join(test.folder, "run")); err != nil || info.Mode() != 0o700 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
			back := t.TempDir()
			scp("target:"+filepath.Join(test.remote, "tree"), "target:"+filepath.Join(test.remote, "f"), back)
			same := readFile(t, filepath.Join(back, "f")) == readFile(t, filepath.Join(s.dir, "f"))
			if !same || readFile(t, filepath.Join(back, "tree/one")) != "1" {
				t.Error("what came back is not what was put")
			}
		})
	}
	said(t, server, "scp -t", func(e Event) bool { return e.Kind == Command && strings.HasPrefix(e.Command, "scp ") })
}

// sftpClient opens the subsystem as alice.
func sftpClient(t *testing.T, server *Server, method ssh.AuthMethod) (*sftp.Client, error) {
	t.Helper()
	conn, err := ssh.Dial("tcp", server.Addr().String(), server.ClientConfig("alice", method))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	client, err := sftp.NewClient(conn)
	if err == nil {
		t.Cleanup(func() { _ = client.Close() })
	}
	return client, err
}

func TestInternalSFTPServesTheRootFromTheUsersHome(t *testing.T) {
	for _, test := range []struct {
		name, config       string
		opens, reads, puts bool
	}{
		{"subsystem", "Subsystem sftp internal-sftp\n", true, true, true},
		{"with a log level", "Subsystem sftp internal-sftp -f AUTH -l INFO\n", true, true, true},
		{"read-only", "Subsystem sftp internal-sftp -R\n", true, true, false},
		{"forced", "Subsystem sftp /bin/false\nForceCommand internal-sftp -R\n", true, true, false},
		{"with what would restrict it", "Subsystem sftp internal-sftp -p realpath,stat\n", false, false, false},
		{"not configured", "", false, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			key, f := newKey(t), &fixture{root: t.TempDir()}
			for name, content := range accounts(map[string]string{
				configFile: test.config, "/bin/sh": "", "/home/alice/f": "mine",
			}) {
				f.write(t, name, content)
			}
			if err := os.Chmod(filepath.Join(f.root, "bin/sh"), 0o755); err != nil {
				t.Fatal(err)
			}
			server := Start(t, WithRoot(f.root), WithSSHDConfig(configFile), WithAuthorizedKeys(key.Line))
			client, err := sftpClient(t, server, ssh.PublicKeys(key.Signer))
			if (err == nil) != test.opens {
				t.Fatalf("opened: %v", err)
			}
			if err != nil {
				return
			}
			home, err := client.Getwd()
			if home != "/home/alice" || err != nil {
				t.Errorf("begins at %q, %v", home, err)
			}
			if _, err := client.Stat("f"); (err == nil) != test.reads {
				t.Errorf("read: %v", err)
			}
			if err := client.Mkdir("new"); (err == nil) != test.puts {
				t.Errorf("mkdir: %v", err)
			}
		})
	}
}

func TestInternalSFTPWithoutARootBeginsAtHome(t *testing.T) {
	home := t.TempDir()
	user := User{Name: "alice", Password: "tulip", Home: home}
	dir := t.TempDir()
	for name, test := range map[string]struct {
		options []Option
		opens   bool
		begins  string
	}{
		"configured":                  {[]Option{WithSettings("Subsystem sftp internal-sftp")}, true, home},
		"forced":                      {[]Option{WithSettings("Subsystem sftp internal-sftp", "ForceCommand internal-sftp -R")}, true, home},
		"in a folder":                 {[]Option{WithSettings("Subsystem sftp internal-sftp"), WithSFTP(dir)}, true, "/"},
		"where commands are not run":  {[]Option{WithSettings("Subsystem sftp internal-sftp"), WithRun(NotFound)}, false, ""},
		"where commands are scripted": {[]Option{WithSettings("Subsystem sftp internal-sftp"), OnExec("id", NotFound)}, true, home},
	} {
		t.Run(name, func(t *testing.T) {
			server := Start(t, append(test.options, WithUser(user))...)
			client, err := sftpClient(t, server, ssh.Password("tulip"))
			if (err == nil) != test.opens {
				t.Fatalf("opened: %v", err)
			}
			if err != nil {
				refused := said(t, server, "a reason", func(e Event) bool { return e.Kind == Request && e.Verdict == Failed })
				if !strings.Contains(refused.Reason, "commands are not run for real") {
					t.Errorf("reason %q", refused.Reason)
				}
				return
			}
			if begins, err := client.Getwd(); err != nil || begins != test.begins {
				t.Errorf("begins at %q, %v", begins, err)
			}
			if err := client.Mkdir("new " + name); (err == nil) == (name == "forced") {
				t.Errorf("mkdir: %v", err)
			}
		})
	}
}

func TestAFolderOfSFTPThatIsNoneIsRefusedAtOnce(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		file:             "serve SFTP: open " + file + ": not a directory",
		dir + "/missing": "serve SFTP: stat " + dir + "/missing: no such file or directory",
	} {
		if _, err := New(WithSFTP(path)); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", path, err, want)
		}
	}
}

func TestCloseEndsASessionOfSFTP(t *testing.T) {
	dir := t.TempDir()
	server := Start(t, WithSFTP(dir))
	client, err := sftpClient(t, server, ssh.PublicKeys(server.ClientKey()))
	if err != nil {
		t.Fatal(err)
	}
	f, err := client.Create("/f")
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Close(); err != nil { // returns when nothing is served any more
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("late")); err == nil || readFile(t, filepath.Join(dir, "f")) != "" {
		t.Errorf("written after Close: %v", err)
	}
}

func TestWithoutAFolderThereIsNoSFTP(t *testing.T) {
	server := Start(t)
	if _, err := sftpClient(t, server, ssh.PublicKeys(server.ClientKey())); err == nil {
		t.Error("the subsystem is there")
	}
}
