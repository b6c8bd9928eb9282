package indexer

import (
	"context"

	"github.com/latchkey-ssh/latchkey/authkeys/internal/indexfile"
)

// Users calls visit with the name of each user in the index at path, in order.
func Users(ctx context.Context, path string, visit func(name string) error) error {
	opened, f, err := open(path)
	if err != nil {
		return err
	}
	defer opened.Close()
	var stopped error
	err = f.Records(int64(indexfile.HeaderSize), func(r indexfile.Record) (bool, error) {
		if stopped = ctx.Err(); stopped == nil && r.First {
			stopped = visit(string(r.User))
		}
		return stopped == nil, nil
	})
	if err != nil {
		return explain(path, err)
	}
	return stopped
}

// HasAuthority tells whether a line in the index at path has cert-authority: by it certificates
// of keys may come in that no line has.
func HasAuthority(ctx context.Context, path string) (found bool, err error) {
	opened, f, err := open(path)
	if err != nil {
		return false, err
	}
	defer opened.Close()
	err = f.Records(int64(indexfile.HeaderSize), func(r indexfile.Record) (bool, error) {
		found = r.Authority
		return !found, ctx.Err()
	})
	if err != nil {
		return false, explain(path, err)
	}
	return found, nil
}

// Lines calls visit with each line of user in the index at path, in order. It reads what
// is there, whoever may write to it: what sshd gets to see is for package index to say.
func Lines(ctx context.Context, path, user string, visit func(line string) error) error {
	opened, f, err := open(path)
	if err != nil {
		return err
	}
	defer opened.Close()
	var stopped error
	err = f.User(user, func(line []byte) error {
		if stopped = ctx.Err(); stopped == nil {
			stopped = visit(string(line))
		}
		return stopped
	})
	if err != nil && stopped == nil {
		return explain(path, err)
	}
	return stopped
}
