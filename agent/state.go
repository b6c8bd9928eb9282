package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-ssh/latchkey/internal/atomicfile"
	"github.com/latchkey-ssh/latchkey/internal/tree"
	"github.com/latchkey-ssh/latchkey/metadata"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// StateDir is where the agent keeps what it has done, below the root.
const StateDir = "/var/lib/latchkey"

// stateDirMode lets everybody pass to the key index, which is below. What else is in
// the folder is root's alone.
const stateDirMode = 0o711

const stateFile = "state.json"

// stateVersion changes when an older agent must not read the file.
const stateVersion = 1

// State is what is remembered between runs. It says what was adopted and what
// was proved, never what was only meant to be.
type State struct {
	Version int `json:"version"`
	// InstanceID is the instance that the endpoint named, and Hardware the
	// machine it was named to: a copy of the disk on another machine starts anew.
	InstanceID string `json:"instance_id,omitempty"`
	Hardware   string `json:"hardware,omitempty"`
	// BootID is the boot for which InForce was adopted.
	BootID  string            `json:"boot_id,omitempty"`
	InForce *metadata.Binding `json:"in_force,omitempty"`
	// Pending is a binding that was seen since, and waits for a restart.
	Pending *metadata.Binding `json:"pending,omitempty"`
	// Applied is how far the instance has come.
	Applied *Applied `json:"applied,omitempty"`
	// Proven is the way in that was proved last. It stays in place until that of
	// another binding is proved.
	Proven *Proven `json:"proven,omitempty"`
	// Elsewhere are keys files with a block of ours in which sshd no longer looks,
	// or not for the logon user of now.
	Elsewhere []KeysPlace `json:"elsewhere,omitempty"`
	// Failure is why the last pass came to nothing, nil when it did not fail.
	Failure *sshd.Cause `json:"failure,omitempty"`
	// Unfinished is set before sshd's configuration is touched and cleared by the
	// next Record: whatever is found then has to be loaded and proved again.
	Unfinished bool `json:"unfinished,omitempty"`
}

// opens tells whether passwords are to be open.
func (s *State) opens() bool { return s.InForce != nil && s.InForce.State == metadata.Unbound }

// KeysPlace is a keys file and whose it is.
type KeysPlace struct {
	User     string `json:"user"`
	KeysFile string `json:"keys_file"` // path below the root; that of the index for keys in there
}

// Proven is what a real sshd said yes to: these keys, from this file, for this
// user, in this boot.
type Proven struct {
	KeysPlace
	Fingerprints []string `json:"fingerprints"`
	BootID       string   `json:"boot_id"`
	Index        bool     `json:"index,omitempty"` // from the index as well
}

// at returns the fingerprints of the keys proved at a place; none for any
// other, or when nothing is proved.
func (p *Proven) at(place KeysPlace) []string {
	if p == nil || (p.KeysPlace != place && (!p.Index || place != indexPlace(p.User))) {
		return nil
	}
	return p.Fingerprints
}

// inBoot tells whether it was proved in that boot.
func (p *Proven) inBoot(boot string) bool { return p != nil && p.BootID == boot }

// Applied is the outcome of the last pass that did something.
type Applied struct {
	Binding metadata.Binding `json:"binding"`
	User    string           `json:"user"`
	// KeysFile is the file that the keys are in, Index the index, KeysCommand what asks
	// the index; each is empty where that is no way of theirs.
	KeysFile       string           `json:"keys_file,omitempty"`
	Index          string           `json:"index,omitempty"`
	KeysCommand    sshd.KeysCommand `json:"keys_command,omitzero"`
	Layout         sshd.Layout      `json:"layout,omitempty"`
	PasswordClosed bool             `json:"password_closed"`
	BootID         string           `json:"boot_id"`
	At             time.Time        `json:"at"`
	Proof          *ProofRecord     `json:"proof,omitempty"`
	Faults         []sshd.Cause     `json:"faults,omitempty"`
	// World is the stamp of everything the outcome depends on, and SSHD of the
	// part that decides sshd's answers.
	World     string      `json:"world"`
	SSHD      string      `json:"sshd"`
	Effective sshd.Config `json:"effective,omitempty"`
}

// ProofRecord is a proof as it is shown: verdicts, no keys.
type ProofRecord struct {
	Key      sshd.Verdict `json:"key"`
	Logon    sshd.Verdict `json:"logon"`
	Password sshd.Verdict `json:"password"`           // accepted: still offered; refused: not offered
	Methods  []string     `json:"methods,omitempty"`  // as the server lists them
	Listener sshd.Verdict `json:"listener,omitempty"` // the key, asked of the running listener
	Running  bool         `json:"running"`            // whether there was a listener to ask
	Version  string       `json:"version,omitempty"`
}

// loadState reads the state below root. None, one that cannot be read as one,
// or one of another machine is an empty state: everything is then found out and
// proved again.
func loadState(root, hardware string) (State, error) {
	fresh := State{Version: stateVersion, Hardware: hardware}
	data, err := tree.ReadFile(root, path.Join(StateDir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return fresh, nil
	}
	if err != nil {
		return fresh, fmt.Errorf("read state: %w", err)
	}
	var state State
	if err := json.Unmarshal(data, &state); err != nil || state.Version != stateVersion || !state.sound() {
		return fresh, nil
	}
	if hardware != "" && state.Hardware != "" && state.Hardware != hardware {
		return fresh, nil
	}
	if hardware != "" {
		state.Hardware = hardware
	}
	return state, nil
}

// sound tells whether the bindings in the state are ones that an endpoint could
// have given.
func (s *State) sound() bool {
	bindings := []*metadata.Binding{s.InForce, s.Pending}
	if s.Applied != nil {
		bindings = append(bindings, &s.Applied.Binding)
	}
	return !slices.ContainsFunc(bindings, func(b *metadata.Binding) bool {
		return b != nil && (b.State == metadata.Unknown || b.Validate() != nil)
	})
}

// noteFailure remembers why a pass came to nothing, or that it did not. It
// writes only what is news.
func (s *State) noteFailure(root string, failure error) error {
	cause := blocker(failure)
	if stamp(s.Failure) == stamp(cause) {
		return nil
	}
	s.Failure = cause
	return s.save(root)
}

// save replaces the state file.
func (s State) save(root string) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	folder, err := tree.MakeFolder(root, StateDir, stateDirMode)
	if err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	defer folder.Close()
	if err := atomicfile.Replace(folder, stateFile, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	return nil
}

// bootID names this boot of the kernel (random(4)). A root folder with a /proc
// of its own, such as a container's, has the first word.
func bootID(root string) (string, error) {
	const name = "/proc/sys/kernel/random/boot_id"
	data, err := tree.ReadFile(root, name)
	if errors.Is(err, fs.ErrNotExist) {
		data, err = os.ReadFile(name)
	}
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// hardwareID names the machine, as far as its firmware tells; "" where it does
// not, or where only root may know.
func hardwareID(root string) string {
	data, err := tree.ReadFile(root, "/sys/class/dmi/id/product_uuid")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}
