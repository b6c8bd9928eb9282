package agent

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/latchkey-ssh/latchkey/authkeys"
	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/internal/account"
	"github.com/latchkey-ssh/latchkey/internal/tree"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// World is what was found on the instance: everything that a plan depends on.
type World struct {
	Now       time.Time
	Zone      *time.Location // of the instance's local time
	Boot      string
	Account   account.Account
	Problems  []account.Problem
	Location  authkeys.Location // of the keys file; zero where keys go into none
	Stores    []keysStore       // where the keys go
	NoKeys    error             // why they could not be looked at; nothing about keys is true then
	Command   sshd.KeysCommand  // what is to ask for the keys in the index; zero where they are in none
	NoCommand error             // why sshd cannot be given that command
	Stray     []KeysPlace       // places with keys of ours, though none are to go there
	Files     *sshd.Files
	Effective sshd.Config // for a logon from loopback
	// Foreign stamps all of it that is not ours. As long as it stays the same, so do
	// sshd's answers.
	Foreign string
	// SSHD stamps the part that decides the effective configuration.
	SSHD string
}

// observe looks at the instance for the logon user, and fails when any of it
// cannot be seen.
func (a *Agent) observe(ctx context.Context, user string, known *Applied) (*World, error) {
	w, err := a.survey(ctx, user, known)
	if err == nil {
		err = w.NoKeys
	}
	return w, err
}

// survey looks at the instance for the logon user. What that user may have
// spoilt, the keys, does not keep it from seeing the rest. It starts a process
// only when sshd's configuration is not the one whose effect is known from
// before.
func (a *Agent) survey(ctx context.Context, user string, known *Applied) (*World, error) {
	w := &World{Now: time.Now(), Zone: localZone(a.root)}
	var err error
	if w.Boot, err = bootID(a.root); err != nil {
		return nil, err
	}
	if w.Account, w.NoKeys = account.Lookup(a.root, user); w.NoKeys != nil {
		w.Account = account.Account{Name: user}
	} else {
		w.Problems = w.Account.Problems(a.root, w.Now)
	}
	if w.Files, err = a.sshd.ReadFiles(); err != nil {
		return nil, err
	}
	w.SSHD = a.stampSSHD(w)
	if w.Effective, err = a.effective(ctx, w, known); err != nil {
		return nil, cmp.Or(w.NoKeys, err)
	}
	if w.NoKeys == nil {
		w.NoKeys = a.surveyKeys(ctx, w, known)
	}
	return w, nil
}

// surveyKeys looks at where the keys of the world's account go.
func (a *Agent) surveyKeys(ctx context.Context, w *World, known *Applied) error {
	delivery := a.config.Apply.Delivery
	if delivery.file() {
		var err error
		if w.Location, err = a.locate(w.Account, w.Effective); err != nil {
			return err
		}
		store, err := lookAtFile(ctx, w.Location)
		if err != nil {
			return err
		}
		w.Stores = append(w.Stores, store)
	} else if known == nil {
		w.Stray = a.strayFile(ctx, w)
	}
	if delivery.command() {
		w.Command, w.NoCommand = a.keysCommand(w)
		w.Stores = append(w.Stores, lookAtIndex(a.root, w.Account.Name, nil))
	} else if _, err := tree.Lstat(a.root, index.Bound); err == nil {
		w.Stray = append(w.Stray, indexPlace(w.Account.Name)) // the helper reads it for whoever asks
	}
	w.Foreign = a.stampForeign(w)
	return nil
}

// strayFile is the keys file, if it has lines of ours, of a time that nothing is recorded
// of. Nothing else is wanted of it, so it does not matter where it cannot be read.
func (a *Agent) strayFile(ctx context.Context, w *World) []KeysPlace {
	location, err := a.locate(w.Account, w.Effective)
	if err != nil {
		return nil
	}
	store, err := lookAtFile(ctx, location)
	if err != nil || len(store.managed()) == 0 {
		return nil
	}
	return []KeysPlace{store.place()}
}

// places are where the keys of the world go.
func (w *World) places() []KeysPlace {
	var places []KeysPlace
	for _, store := range w.Stores {
		places = append(places, store.place())
	}
	return places
}

// where names the places, for people.
func (w *World) where() string {
	var names []string
	for _, place := range w.places() {
		names = append(names, place.KeysFile)
	}
	return strings.Join(names, " ")
}

// homeTimeout bounds a visit to a home. One that is on a network may not
// answer at all.
const homeTimeout = 10 * time.Second

// effective is the configuration that a logon of the user meets, from memory
// where nothing that decides it has changed.
func (a *Agent) effective(ctx context.Context, w *World, known *Applied) (sshd.Config, error) {
	if known != nil && known.SSHD == w.SSHD && len(known.Effective) > 0 {
		return known.Effective, nil
	}
	config, err := a.sshd.Effective(ctx, a.config.SSHD.Config, sshd.FromLoopback(w.Account.Name, w.Files.Port()))
	if err != nil {
		return nil, fmt.Errorf("ask sshd for its configuration: %w", err)
	}
	return config, nil
}

// locate is the file below the user's home, or elsewhere, in which sshd looks
// for keys.
func (a *Agent) locate(user account.Account, config sshd.Config) (authkeys.Location, error) {
	return authkeys.Locate(config.Fields("authorizedkeysfile"), a.keysAccount(user))
}

func (a *Agent) keysAccount(user account.Account) authkeys.Account {
	return authkeys.Account{
		Root: a.root, User: user.Name, UID: user.UID, GID: user.GID, Groups: user.Groups, Home: user.Home,
	}
}

// stampSSHD covers the configuration that is not ours, the program that reads
// it, and the account that Match blocks speak of.
func (a *Agent) stampSSHD(w *World) string {
	var program []any
	if info, err := os.Stat(a.sshd.Program()); err == nil {
		program = []any{info.Size(), info.ModTime().UnixNano()}
	}
	return stamp(a.sshd.Command, program, w.Files.Foreign(), w.Account)
}

// stampForeign covers all that a proof depends on besides our own lines.
func (a *Agent) stampForeign(w *World) string {
	var around []any
	for _, store := range w.Stores {
		around = append(around, store.around())
	}
	return stamp(w.SSHD, w.Problems, around, a.stampCommand(w), a.config.Apply, a.config.SSHD)
}

// stamp is a digest of values by their JSON.
func stamp(values ...any) string {
	hash := sha256.New()
	if err := json.NewEncoder(hash).Encode(values); err != nil {
		panic(err) // plain values always encode
	}
	return hex.EncodeToString(hash.Sum(nil)[:16])
}
