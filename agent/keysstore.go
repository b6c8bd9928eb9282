package agent

import (
	"context"

	"github.com/latchkey-ssh/latchkey/authkeys"
)

// A keysStore is where sshd finds the keys that are bound for the logon user: the
// keys file, or the index that its AuthorizedKeysCommand reads.
type keysStore interface {
	place() KeysPlace
	// managed are the lines in it that are latchkey's for that user, without comments.
	managed() []string
	// settled tells whether set would have nothing to write for these lines.
	settled(lines []string) (bool, error)
	// diff is the store before and after set.
	diff(lines []string) FileDiff
	// set makes these the lines in it that are latchkey's for the user, and tells
	// whether that took a write.
	set(ctx context.Context, lines []string) (bool, error)
	// look is the store as it is by now.
	look(ctx context.Context) (keysStore, error)
	// around is what sshd goes by besides the lines: owners and modes.
	around() any
}

// fileStore is the keys file that sshd reads as the user.
type fileStore struct {
	location authkeys.Location
	view     *authkeys.View
}

func lookAtFile(ctx context.Context, l authkeys.Location) (keysStore, error) {
	ctx, cancel := context.WithTimeout(ctx, homeTimeout)
	defer cancel()
	view, err := authkeys.Look(ctx, l)
	if err != nil {
		return nil, err
	}
	return &fileStore{l, view}, nil
}

func (s *fileStore) place() KeysPlace { return KeysPlace{s.location.User, s.location.Path} }

func (s *fileStore) managed() []string { return authkeys.Parse(s.view.Data).ManagedLines() }

func (s *fileStore) settled(lines []string) (bool, error) {
	after, err := authkeys.Parse(s.view.Data).WithManaged(lines)
	return err == nil && s.view.Settled(after), err
}

func (s *fileStore) diff(lines []string) FileDiff {
	after, err := authkeys.Parse(s.view.Data).WithManaged(lines)
	if err != nil {
		after = s.view.Data // the plan says why
	}
	return FileDiff{s.location.Path, s.view.Data, after}
}

func (s *fileStore) set(ctx context.Context, lines []string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, homeTimeout)
	defer cancel()
	edit := func(f *authkeys.File) ([]byte, error) { return f.WithManaged(lines) }
	change, err := authkeys.Edit(ctx, s.location, edit)
	return change.Changed, err
}

func (s *fileStore) look(ctx context.Context) (keysStore, error) { return lookAtFile(ctx, s.location) }

func (s *fileStore) around() any { return []any{s.location, s.view.Around} }
