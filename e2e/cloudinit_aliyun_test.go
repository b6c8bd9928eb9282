package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
	"github.com/latchkey-ssh/latchkey/keypair/imds"
)

// cloudDefaultUser is whom Debian's cloud-init gives the instance's key.
const cloudDefaultUser = "debian"

// cloudMachine is a Debian that is not booted, and whose own cloud-init believes
// itself on an ECS instance.
type cloudMachine struct {
	*testmachine.Machine
	t        *testing.T
	network  *network
	endpoint *endpoint
}

// newCloudMachine makes one. Of cloud-init nothing is changed: it reads its
// configuration, the firmware's name of the machine, and what systemd says of
// containers. It looks for no other cloud, gives up soon, and of its first stage
// the modules are run that make accounts and write keys.
func newCloudMachine(t *testing.T, suite string) *cloudMachine {
	t.Helper()
	testmachine.RequireProgram(t, "unshare")
	c := &cloudMachine{Machine: testmachine.NewDebian(t, suite), t: t, network: newNetwork(t)}
	c.endpoint = newEndpoint(t, c.network)
	c.Run(t, "rm", "-f", "/etc/cloud/cloud-init.disabled")
	c.WriteFile("/usr/bin/systemd-detect-virt", "#!/bin/sh\necho none\nexit 1\n", 0o755)
	c.WriteFile("/etc/cloud/cloud.cfg.d/99-test.cfg", `datasource_list: [AliYun]
datasource: {AliYun: {timeout: 5, max_wait: 10}}
network: {config: disabled}
ssh_deletekeys: false
ssh_genkeytypes: []
cloud_init_modules: [users-groups, ssh]
`, 0o644)
	return c
}

// asOnECS starts a command, $0, where /sys is that of the network it is in, and of
// a machine that Alibaba Cloud has made.
const asOnECS = `set -e
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /sys/class
mkdir -p /sys/class/dmi/id
echo Alibaba Cloud ECS >/sys/class/dmi/id/product_name
ln -s ../devices/virtual/net /sys/class/net
exec "$0" "$@"`

// init runs the stage of cloud-init that asks the endpoint, as a boot does.
func (c *cloudMachine) init() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	cmd := at(c.network.instance, exec.CommandContext(ctx, "unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child",
		"--root", c.Root, "--mount-proc", "sh", "-c", asOnECS, "cloud-init", "init"))
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/root"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.t.Fatalf("cloud-init init: %v\n%s\n%s", err, out, c.ReadFile(cloudLog))
	}
}

// cloudLog is where cloud-init says what it does.
const cloudLog = "/var/log/cloud-init.log"

// usual is what these releases of cloud-init complain of with every endpoint,
// ECS's own too: an instance without user data, which is answered 404.
var usual = []string{
	"Failed fetching user-data from url",
	"Failed fetching vendor-data from url",
	"Invalid cloud-config provided", // an empty one
}

// wantContent checks that cloud-init has found the endpoint and nothing wrong
// with it.
func (c *cloudMachine) wantContent() {
	c.t.Helper()
	var status struct {
		V1 struct {
			Datasource string `json:"datasource"`
			Init       struct {
				Errors []string `json:"errors"`
			} `json:"init"`
		} `json:"v1"`
	}
	if err := json.Unmarshal([]byte(c.ReadFile("/var/lib/cloud/data/status.json")), &status); err != nil {
		c.t.Fatal(err)
	}
	if v1 := status.V1; v1.Datasource != "DataSourceAliYun" || len(v1.Init.Errors) > 0 {
		c.t.Errorf("cloud-init's status is %+v", v1)
	}
	for _, complaint := range complaints(c.ReadFile(cloudLog)) {
		c.t.Errorf("cloud-init says: %s", complaint)
	}
}

// partOf tells what is a part of a text.
func partOf(text string) func(string) bool {
	return func(part string) bool { return strings.Contains(text, part) }
}

// entry is where an entry of cloud-init's log begins; a traceback is lines below.
var entry = regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\d `)

// complaints are the entries of a log that are warnings or worse, or have a
// traceback, other than the usual ones.
func complaints(log string) []string {
	begins := append(entry.FindAllStringIndex(log, -1), []int{len(log)})
	var found []string
	for n := range len(begins) - 1 {
		text := log[begins[n][0]:begins[n+1][0]]
		bad := slices.ContainsFunc([]string{"[WARNING]", "[ERROR]", "[CRITICAL]", "Traceback"}, partOf(text))
		if bad && !slices.ContainsFunc(usual, partOf(text)) {
			found = append(found, text)
		}
	}
	return found
}

// mac is the address of the instance's network interface. Without it the
// endpoint tells of no network, and cloud-init warns of that.
func (c *cloudMachine) mac() string {
	c.t.Helper()
	var card *net.Interface
	err := within(c.network.instance, func() (err error) {
		card, err = net.InterfaceByName("host0")
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return card.HardwareAddr.String()
}

// keys are the lines of the default user's authorized_keys.
func (c *cloudMachine) keys() []string {
	c.t.Helper()
	home := "/home/" + cloudDefaultUser
	if _, err := os.Stat(c.Path(home)); err != nil {
		c.t.Fatalf("cloud-init has not made its user: %v", err)
	}
	text, err := os.ReadFile(c.Path(home + "/.ssh/authorized_keys"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.t.Fatal(err)
	}
	return slices.Collect(strings.Lines(string(text)))
}

// tokenHeader is what a client shows in hardened mode.
const tokenHeader = "X-Aliyun-Ecs-Metadata-Token"

func TestCloudInitTakesTheBoundKeyAndIsContentWithNone(t *testing.T) {
	for _, release := range []struct {
		suite, tokens string
		knowsTokens   bool
	}{
		{"bookworm", imds.TokensOptional, false}, // cloud-init 22.4.2
		{"trixie", imds.TokensOptional, true},    // 25.1.4
		{"trixie", imds.TokensRequired, true},
	} {
		for _, bound := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, tokens %s, bound %v", release.suite, release.tokens, bound), func(t *testing.T) {
				c := newCloudMachine(t, release.suite)
				instance := c.endpoint.Instance()
				instance.HTTPTokens, instance.MAC, instance.PrivateIPv4 = release.tokens, c.mac(), instanceAddress
				c.endpoint.Set(instance)
				var want []string
				if bound {
					key := testmachine.NewKey(t, "ed25519")
					c.endpoint.Bind("ops", key.Line)
					want = []string{key.Line + "\n"}
				}
				c.init()
				c.wantContent()
				c.wantTokens(release.knowsTokens)
				if diff := cmp.Diff(want, c.keys()); diff != "" {
					t.Errorf("authorized_keys of %s (-want +got):\n%s", cloudDefaultUser, diff)
				}
			})
		}
	}
}

// wantTokens checks whether a token was asked for, and then that each read has
// shown one.
func (c *cloudMachine) wantTokens(want bool) {
	c.t.Helper()
	requests := c.endpoint.requests()
	taken := slices.ContainsFunc(requests, func(r request) bool { return r.method == http.MethodPut })
	wrong := slices.ContainsFunc(requests, func(r request) bool { return r.method == http.MethodGet && r.token != want })
	if taken != want || wrong {
		c.t.Errorf("tokens are to be used: %v; the endpoint was asked %+v", want, requests)
	}
}
