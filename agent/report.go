package agent

import (
	"os"
	"slices"
	"time"

	"github.com/latchkey-ssh/latchkey/metadata"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// Report is what "latchkey status" shows. It is made from what was recorded and
// from one question to the endpoint; it changes nothing.
type Report struct {
	InstanceID string           `json:"instance_id,omitempty"`
	Endpoint   string           `json:"endpoint"`
	Seen       metadata.Binding `json:"seen"` // what the endpoint says now
	When       When             `json:"when"`
	// Follows is how the agent hears of a change: "watch", where the endpoint has one
	// that has not failed, or "poll"; "" when it does not, or none runs.
	Follows string `json:"follows,omitempty"`
	// InForce is the binding for this boot; Pending waits for the next.
	InForce *metadata.Binding `json:"in_force,omitempty"`
	Pending *metadata.Binding `json:"pending,omitempty"`
	// Applied tells whether the instance was taken to what is to be in force. All that
	// follows is about what it was taken to last.
	Applied bool        `json:"applied"`
	Keys    []KeyReport `json:"keys,omitempty"`
	User    string      `json:"user,omitempty"`
	// KeysFile is where the key is, Password whether passwords are taken as proved.
	KeysFile string `json:"keys_file,omitempty"`
	Index    string `json:"index,omitempty"` // the index that the AuthorizedKeysCommand reads
	// Elsewhere are other places that still have keys of latchkey's, which are to go.
	Elsewhere []KeysPlace  `json:"elsewhere,omitempty"`
	Password  string       `json:"password"` // "off", "on" or "unknown"
	Layout    sshd.Layout  `json:"layout,omitempty"`
	ProvedAt  *time.Time   `json:"proved_at,omitempty"`
	Proof     *ProofRecord `json:"proof,omitempty"`
	// ThisBoot tells whether all of it is about the boot that is running.
	ThisBoot bool         `json:"this_boot"`
	Faults   []sshd.Cause `json:"faults"`
	// PID is the agent's, 0 when none runs.
	PID int `json:"agent_pid,omitempty"`
}

// KeyReport is a bound key as it is shown.
type KeyReport struct {
	Fingerprint string `json:"fingerprint"`
	Type        string `json:"type"`
	Name        string `json:"name,omitempty"`
	Comment     string `json:"comment,omitempty"`
	// ValidBefore is when a certificate ends; nil for a key that does not.
	ValidBefore *time.Time `json:"valid_before,omitempty"`
}

// Report makes a report. seen is the endpoint's answer, for which the caller
// decides how long to wait.
func (a *Agent) Report(seen metadata.Binding) (*Report, error) {
	state, err := loadState(a.root, hardwareID(a.root))
	if err != nil {
		return nil, err
	}
	boot, err := bootID(a.root)
	if err != nil {
		return nil, err
	}
	r := &Report{
		InstanceID: state.InstanceID, Endpoint: a.config.Metadata.Endpoint, Seen: seen, When: a.config.Apply.When,
		InForce: state.InForce, Pending: state.Pending, Elsewhere: state.Elsewhere, Password: "unknown", Faults: []sshd.Cause{},
	}
	r.addPending(state, seen)
	if state.Applied != nil {
		r.Applied = state.InForce != nil && state.Applied.Binding.Same(*state.InForce)
		r.addApplied(state.Applied, boot)
	}
	if state.Applied != nil && state.Applied.PasswordClosed && !a.policyStands() {
		r.Password = "unknown"
		r.fault("policy-missing", "what turns passwords off is not in sshd's configuration any more", "latchkeyd puts it back; or run \"latchkey apply\"")
	}
	if f := state.Failure; f != nil {
		r.fault(f.ID, f.Detail, f.Remedy)
	}
	if state.Unfinished {
		r.fault("unfinished", "the last pass was cut off", "latchkeyd finishes it; or run \"latchkey apply\"")
	}
	return r, nil
}

// policyStands tells whether sshd's files hold the policy. Where they cannot be
// read, the record stands.
func (a *Agent) policyStands() bool {
	files, err := a.sshd.ReadFiles()
	return err != nil || files.Closed()
}

// endpointRemedy is for every answer that does not count: the reason says which
// of these it is.
const endpointRemedy = "check metadata.endpoint, the network, and what the endpoint says; on a copied disk see latchkey(8); what was in force stays in force"

// addPending says what waits, also when nobody but this report has seen it yet.
func (r *Report) addPending(state State, seen metadata.Binding) {
	if seen.State == metadata.Unknown {
		r.fault("endpoint-unknown", seen.Reason, endpointRemedy)
		return
	}
	if state.InstanceID != "" && seen.InstanceID != state.InstanceID {
		cause := blocker(otherInstance(state, seen))
		r.fault(cause.ID, cause.Detail, cause.Remedy)
		return
	}
	r.InstanceID, r.Pending = seen.InstanceID, nil
	if state.InForce == nil || !state.InForce.Same(seen) {
		r.Pending = &seen
	}
}

func (r *Report) addApplied(applied *Applied, boot string) {
	r.User, r.KeysFile, r.Index, r.Layout = applied.User, applied.KeysFile, applied.Index, applied.Layout
	r.Proof, r.ThisBoot = applied.Proof, applied.BootID == boot
	if applied.Proof != nil {
		r.ProvedAt = &applied.At
		r.Password = passwordWord(applied)
	} else if !applied.PasswordClosed {
		r.Password = "on"
	}
	r.Faults = append(r.Faults, applied.Faults...)
	for _, g := range grantsOf(applied.Binding, applied.User, time.Now(), time.UTC) {
		r.addKey(g)
	}
}

// addKey adds a bound key, and what speaks against it since it was applied.
func (r *Report) addKey(g grant) {
	key := KeyReport{Fingerprint: g.key.Fingerprint(), Type: g.key.Type, Name: g.key.Name, Comment: g.key.Comment}
	if !g.ends.IsZero() {
		key.ValidBefore = &g.ends
	}
	r.Keys = append(r.Keys, key)
	if g.refused != nil {
		r.fault(g.refused.ID, g.refused.Detail, g.refused.Remedy)
	}
}

// passwordWord is password logon as it was proved, not as it was configured.
func passwordWord(applied *Applied) string {
	switch {
	case applied.PasswordClosed && applied.Proof.Password == sshd.Refused:
		return "off"
	case !applied.PasswordClosed:
		return "on"
	}
	return "unknown"
}

// fault adds what is wrong, each cause once.
func (r *Report) fault(id, detail, remedy string) {
	if slices.ContainsFunc(r.Faults, func(f sshd.Cause) bool { return f.ID == id }) {
		return
	}
	r.Faults = append(r.Faults, sshd.Cause{ID: id, Detail: detail, Remedy: remedy})
}

// withPID marks the report as coming from the agent itself.
func (r *Report) withPID() *Report {
	r.PID = os.Getpid()
	return r
}
