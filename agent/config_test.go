package agent

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// configRoot is a root folder with a configuration file and drop-ins by name.
func configRoot(t *testing.T, text string, dropIns map[string]string) string {
	t.Helper()
	root := t.TempDir()
	main := filepath.Join(root, DefaultConfigPath)
	if err := os.MkdirAll(main+".d", 0o755); err != nil {
		t.Fatal(err)
	}
	dropIns[""] = text
	for name, text := range dropIns {
		file := main
		if name != "" {
			file = filepath.Join(main+".d", name)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestWrongConfigurationNamesFileAndLineAndWhatIsWanted(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text string
		want       []string
	}{
		{"unknown key", "[apply]\nwhen = \"boot\"\nwhan = \"live\"\n", []string{":3:", `"apply.whan"`}},
		{"unknown table", "[login]\nuser = \"root\"\n\n[aply]\nwhen = \"boot\"\n", []string{":4:", "aply"}},
		{"unknown key with dots", "login.user = \"root\"\nlogin.usr = \"root\"\n", []string{":2:", `"login.usr"`}},
		{"no toml", "[login]\nuser = root\n", []string{":2:"}},
		{"table twice", "[login]\nuser = \"a\"\n[login]\nuser = \"b\"\n", []string{":3:"}},
		{"number for text", "[login]\nuser = 5\n", []string{":2:", "login.user"}},
		{"text for truth", "\n[sshd]\nmatch_guard = \"yes\"\n", []string{":3:", "match_guard"}},
		{"no duration", "[apply]\npoll = \"soon\"\n", []string{":2:", "poll"}},
		{"provider", "[metadata]\nprovider = \"ec2\"\n", []string{":2:", "metadata.provider", `"ec2"`, `"auto" or "ecs"`}},
		{"token", "[metadata]\ntoken = \"maybe\"\n", []string{":2:", "metadata.token", `"maybe"`, `"required"`}},
		{"endpoint without scheme", "[metadata]\n# here\nendpoint = \"100.100.100.200\"\n", []string{":3:", "metadata.endpoint", "http://ADDRESS"}},
		{"endpoint by name", "[metadata]\nendpoint = \"http://metadata\"\n", []string{":2:", "metadata.endpoint", "IP address"}},
		{"user", "[login]\nuser = \"-x\"\n", []string{":2:", "login.user", "local account"}},
		{"empty user", "[login]\nuser = \"\"\n", []string{":2:", "login.user"}},
		{"when", "[apply]\nwhen = \"always\"\n", []string{":2:", "apply.when", `"boot" or "live"`}},
		{"password", "[apply]\npassword = \"no\"\n", []string{":2:", "apply.password", `"disable" or "leave"`}},
		{"delivery", "[apply]\ndelivery = \"pigeon\"\n", []string{":2:", "apply.delivery"}},
		{"poll", "[apply]\npoll = \"10ms\"\n", []string{":2:", "apply.poll", "at least 1s"}},
		{"boot_wait below nothing", "[apply]\nboot_wait = \"-1s\"\n", []string{":2:", "apply.boot_wait", "0s to 5m"}},
		{"boot_wait of an hour", "[apply]\nboot_wait = \"1h\"\n", []string{":2:", "apply.boot_wait", "0s to 5m"}},
		{"relative sshd_config", "[sshd]\nconfig = \"sshd_config\"\n", []string{":2:", "sshd.config", "absolute path"}},
		{"relative command", "[sshd]\ncommand = [\"sshd\"]\n", []string{":2:", "sshd.command", "absolute path"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			root := configRoot(t, test.text, map[string]string{})
			_, err := LoadConfig(root, DefaultConfigPath)
			if _, ok := errors.AsType[*ConfigError](err); !ok {
				t.Fatalf("error %v, want a ConfigError", err)
			}
			for _, want := range append(test.want, filepath.Join(root, DefaultConfigPath)) {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

func TestAWrongValueIsFoundInTheDropInThatSetsIt(t *testing.T) {
	t.Parallel()
	root := configRoot(t, "[apply]\nwhen = \"live\"\n", map[string]string{
		"10-good.toml": "[apply]\npoll = \"2s\"\n", "20-bad.toml": "# why not\n[apply]\nwhen = \"never\"\n",
	})
	_, err := LoadConfig(root, DefaultConfigPath)
	if err == nil || !strings.Contains(err.Error(), "20-bad.toml:3: apply.when") {
		t.Errorf("error %v, want one that names 20-bad.toml, line 3", err)
	}
}

func TestDropInsAreReadInOrderOverTheMainFile(t *testing.T) {
	t.Parallel()
	root := configRoot(t, "[login]\nuser = \"root\"\n[apply]\nwhen = \"live\"\n", map[string]string{
		"10-a.toml": "[login]\nuser = \"first\"\n", "20-b.toml": "[login]\nuser = \"second\"\n", "30-c.conf": "[login]\nuser = \"third\"\n",
	})
	config, err := LoadConfig(root, DefaultConfigPath)
	if err != nil {
		t.Fatal(err)
	}
	if config.Login.User != "second" || config.Apply.When != Live || config.Apply.Poll.Duration != time.Minute {
		t.Errorf("got %+v, want the last drop-in's user, the main file's mode, the default pace", config)
	}
}

func TestWithoutAConfigurationFileTheDefaultsHold(t *testing.T) {
	t.Parallel()
	config, err := LoadConfig(t.TempDir(), DefaultConfigPath)
	if err != nil || stamp(config) != stamp(DefaultConfig()) {
		t.Errorf("got %+v, %v; want the defaults", config, err)
	}
	var wrong *ConfigError
	if _, err := LoadConfig(t.TempDir(), "/etc/latchkey/other.toml"); !errors.As(err, &wrong) {
		t.Errorf("a file that was asked for by name and is missing: %v, want a configuration error", err)
	}
}
