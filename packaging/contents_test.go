package packaging

import (
	"debug/elf"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// common is what every package has: path and mode, all of it root's.
var common = map[string]string{
	"/etc/latchkey":                                           "drwxr-xr-x",
	"/etc/latchkey/latchkey.toml":                             "-rw-r--r--",
	"/etc/latchkey/latchkey.toml.d":                           "drwxr-xr-x",
	"/usr/bin/latchkey":                                       "-rwxr-xr-x",
	"/usr/bin/latchkey-sshd":                                  "-rwxr-xr-x",
	"/usr/sbin/keypaird":                                      "-rwxr-xr-x",
	"/usr/sbin/latchkey-authorized-keys":                      "-rwxr-xr-x",
	"/usr/sbin/latchkeyd":                                     "-rwxr-xr-x",
	"/usr/share/bash-completion/completions/keypaird":         "-rw-r--r--",
	"/usr/share/bash-completion/completions/latchkey":         "-rw-r--r--",
	"/usr/share/bash-completion/completions/latchkey-sshd":    "-rw-r--r--",
	"/usr/share/doc/latchkey":                                 "drwxr-xr-x",
	"/usr/share/doc/latchkey/changelog.gz":                    "-rw-r--r--",
	"/usr/share/doc/latchkey/copyright":                       "-rw-r--r--",
	"/usr/share/doc/latchkey/third-party.gz":                  "-rw-r--r--",
	"/usr/share/fish/vendor_completions.d/keypaird.fish":      "-rw-r--r--",
	"/usr/share/fish/vendor_completions.d/latchkey.fish":      "-rw-r--r--",
	"/usr/share/fish/vendor_completions.d/latchkey-sshd.fish": "-rw-r--r--",
	"/usr/share/man/man1/latchkey-sshd.1.gz":                  "-rw-r--r--",
	"/usr/share/man/man5/latchkey.toml.5.gz":                  "-rw-r--r--",
	"/usr/share/man/man8/keypaird.8.gz":                       "-rw-r--r--",
	"/usr/share/man/man8/latchkey-authorized-keys.8.gz":       "-rw-r--r--",
	"/usr/share/man/man8/latchkey.8.gz":                       "-rw-r--r--",
	"/usr/share/man/man8/latchkeyd.8.gz":                      "-rw-r--r--",
}

// forSystemd is what those have besides that are for machines with systemd.
var forSystemd = map[string]string{
	"/usr/lib/systemd/catalog/latchkey.catalog":         "-rw-r--r--",
	"/usr/lib/systemd/system/keypaird.service":          "-rw-r--r--",
	"/usr/lib/systemd/system/latchkey-network.socket":   "-rw-r--r--",
	"/usr/lib/systemd/system/latchkey-network@.service": "-rw-r--r--",
	"/usr/lib/systemd/system/latchkeyd.service":         "-rw-r--r--",
	"/usr/lib/sysusers.d/latchkey.conf":                 "-rw-r--r--",
	"/usr/lib/tmpfiles.d/latchkey.conf":                 "-rw-r--r--",
}

// formats are the packages; only says what one has that the others have not, or
// have elsewhere.
var formats = []struct {
	name, pattern string
	read          func(t *testing.T, file string) contents
	systemd       bool
	only          map[string]string
	scripts       []string
}{
	{
		"deb", "*.deb", readDeb, true,
		map[string]string{
			"/usr/share/doc/latchkey/changelog.Debian.gz":      "-rw-r--r--",
			"/usr/share/lintian/overrides/latchkey":            "-rw-r--r--",
			"/usr/share/zsh/vendor-completions/_keypaird":      "-rw-r--r--",
			"/usr/share/zsh/vendor-completions/_latchkey":      "-rw-r--r--",
			"/usr/share/zsh/vendor-completions/_latchkey-sshd": "-rw-r--r--",
		},
		[]string{"postinst", "postrm", "prerm"},
	},
	{
		"rpm", "*.rpm", readRPM, true,
		map[string]string{
			"/usr/share/zsh/site-functions/_keypaird":      "-rw-r--r--",
			"/usr/share/zsh/site-functions/_latchkey":      "-rw-r--r--",
			"/usr/share/zsh/site-functions/_latchkey-sshd": "-rw-r--r--",
		},
		[]string{"postinstall", "postuninstall", "preuninstall"},
	},
	{
		"apk", "*.apk", readAPK, false,
		map[string]string{
			"/etc/init.d/latchkeyd":                        "-rwxr-xr-x",
			"/usr/share/zsh/site-functions/_keypaird":      "-rw-r--r--",
			"/usr/share/zsh/site-functions/_latchkey":      "-rw-r--r--",
			"/usr/share/zsh/site-functions/_latchkey-sshd": "-rw-r--r--",
		},
		[]string{".post-deinstall", ".post-install", ".post-upgrade", ".pre-deinstall", ".pre-install"},
	},
}

// architectures are the two names that each has in the names of packages.
var architectures = [][]string{{"amd64", "x86_64"}, {"arm64", "aarch64"}}

func TestPackagesHaveTheirFilesModesOwnersAndScripts(t *testing.T) {
	for _, format := range formats {
		for _, architecture := range architectures {
			t.Run(format.name+"/"+architecture[0], func(t *testing.T) {
				got := format.read(t, packageFor(t, format.pattern, architecture))
				want := maps.Clone(common)
				maps.Copy(want, format.only)
				if format.systemd {
					maps.Copy(want, forSystemd)
				}
				if diff := cmp.Diff(want, withoutSharedFolders(got.files)); diff != "" {
					t.Errorf("files (-want +got):\n%s", diff)
				}
				for name, owner := range got.owners {
					if owner != "root root" && owner != "0 0" {
						t.Errorf("%s belongs to %s, want root root", name, owner)
					}
				}
				if diff := cmp.Diff([]string{"/etc/latchkey/latchkey.toml"}, got.config); diff != "" {
					t.Errorf("configuration (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(format.scripts, got.scripts); diff != "" {
					t.Errorf("scripts (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// packageFor returns the package of a format for an architecture, by any of its
// names.
func packageFor(t *testing.T, pattern string, architecture []string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(built.tree(t), "dist", pattern))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range found {
		for _, name := range architecture {
			if strings.Contains(path.Base(file), name) {
				return file
			}
		}
	}
	t.Fatalf("no %s for %s", pattern, architecture[0])
	return ""
}

// withoutSharedFolders leaves out folders that are not latchkey's own, which
// some formats name on the way to a file.
func withoutSharedFolders(files map[string]string) map[string]string {
	own := maps.Clone(files)
	maps.DeleteFunc(own, func(name, mode string) bool { return mode[0] == 'd' && !strings.Contains(name, "latchkey") })
	return own
}

// TestInstallPutsWhatThePackagesHave: `make install` below DESTDIR comes to the
// same files, and `make uninstall` takes them away again but for the
// configuration.
func TestInstallPutsWhatThePackagesHave(t *testing.T) {
	tree, destination := built.tree(t), t.TempDir()
	zsh := "ZSHDIR=/usr/share/zsh/vendor-completions"
	if err := makeIn(tree, "077", "install", "DESTDIR="+destination, "PREFIX=/usr", zsh); err != nil {
		t.Fatal(err)
	}
	want := readDeb(t, packageFor(t, "*.deb", architectures[0])).files
	maps.DeleteFunc(want, func(name, _ string) bool { // what only a package has
		return strings.Contains(name, "/lintian") || strings.HasSuffix(name, "changelog.Debian.gz")
	})
	if diff := cmp.Diff(want, filesBelow(t, destination)); diff != "" {
		t.Errorf("files (-deb +installed):\n%s", diff)
	}

	if err := makeIn(tree, "022", "uninstall", "DESTDIR="+destination, "PREFIX=/usr", zsh); err != nil {
		t.Fatal(err)
	}
	for name, mode := range filesBelow(t, destination) {
		if mode[0] != 'd' && name != "/etc/latchkey/latchkey.toml" {
			t.Errorf("uninstall leaves %s", name)
		}
	}
}

// TestInstallKeepsAConfigurationThatIsThere also looks at what names programs.
func TestInstallKeepsAConfigurationThatIsThere(t *testing.T) {
	tree, destination := built.tree(t), t.TempDir()
	config := filepath.Join(destination, "etc/latchkey/latchkey.toml")
	if err := os.MkdirAll(filepath.Dir(config), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, []byte("# mine\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := makeIn(tree, "022", "install", "DESTDIR="+destination); err != nil {
		t.Fatal(err)
	}
	if got := string(readFile(t, config)); got != "# mine\n" {
		t.Errorf("the configuration is now %q", got)
	}
	for unit, program := range map[string]string{
		"latchkeyd.service": "latchkeyd", "latchkey-network@.service": "latchkeyd", "keypaird.service": "keypaird",
	} {
		text := string(readFile(t, filepath.Join(destination, "usr/local/lib/systemd/system", unit)))
		if strings.Contains(text, "/usr/sbin/"+program) || !strings.Contains(text, "ExecStart=/usr/local/sbin/"+program) {
			t.Errorf("%s does not run the %s that was installed:\n%s", unit, program, text)
		}
	}
}

// filesBelow are the paths and modes of what is below a folder.
func filesBelow(t *testing.T, root string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.Walk(root, func(name string, info os.FileInfo, err error) error {
		if err != nil || name == root {
			return err
		}
		found[strings.TrimPrefix(name, root)] = info.Mode().String()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestProgramsAreStaticAndForTheirArchitecture: they run on any release.
func TestProgramsAreStaticAndForTheirArchitecture(t *testing.T) {
	for i, machine := range []elf.Machine{elf.EM_X86_64, elf.EM_AARCH64} {
		files := readDeb(t, packageFor(t, "*.deb", architectures[i])).data
		for _, name := range []string{"/usr/bin/latchkey", "/usr/bin/latchkey-sshd", "/usr/sbin/latchkeyd", "/usr/sbin/latchkey-authorized-keys", "/usr/sbin/keypaird"} {
			program, err := elf.NewFile(strings.NewReader(files[name]))
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if program.Machine != machine {
				t.Errorf("%s is for %v, want %v", name, program.Machine, machine)
			}
			if libraries, err := program.ImportedLibraries(); err != nil || len(libraries) > 0 {
				t.Errorf("%s needs %q (%v)", name, libraries, err)
			}
		}
	}
}

// TestPackagedProgramsSayTheirVersion: it is how people name what they have.
func TestPackagedProgramsSayTheirVersion(t *testing.T) {
	files := readDeb(t, packageFor(t, "*.deb", []string{runtime.GOARCH})).data
	for _, name := range []string{"/usr/bin/latchkey", "/usr/bin/latchkey-sshd", "/usr/sbin/latchkeyd", "/usr/sbin/latchkey-authorized-keys"} {
		program := filepath.Join(t.TempDir(), filepath.Base(name))
		if err := os.WriteFile(program, []byte(files[name]), 0o755); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(program, "--version").CombinedOutput()
		if err != nil || !strings.HasSuffix(string(out), " version 0.1.0\n") {
			t.Errorf("%s --version says %q (%v)", name, out, err)
		}
	}
}
