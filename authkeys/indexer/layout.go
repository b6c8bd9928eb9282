package indexer

import (
	"bufio"
	"io"
	"runtime"
	"slices"
	"sync"

	"github.com/latchkey-ssh/latchkey/authkeys/internal/indexfile"
)

// An output takes an index: all of it in order, and then the header.
type output interface {
	io.Writer
	io.WriterAt
}

// A layout puts an index together. The lines come in the order of their users' names.
type layout struct {
	out    output
	w      *bufio.Writer
	offset int64
	user   string
	header indexfile.Header
	// entries are those whose hash has the same first byte: that is half of the sorting,
	// and many short lists grow with less waste than a long one.
	entries [256][]indexfile.Entry
}

const faultOrder = indexfile.Fault("has its users out of order")

func newLayout(out output) *layout {
	l := &layout{out: out, w: bufio.NewWriterSize(out, 256<<10), offset: int64(indexfile.HeaderSize)}
	_, _ = l.w.Write(make([]byte, indexfile.HeaderSize)) // finish knows of an error
	return l
}

// add adds lines of a user: their records, and the entries with offsets in these.
func (l *layout) add(user string, records []byte, entries []indexfile.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	if user < l.user {
		return faultOrder // of an index that is checked: what is built is sorted
	}
	if user != l.user {
		l.user = user
		l.header.Users++
		indexfile.MarkFirst(records)
		l.file(indexfile.Entry{Hash: indexfile.UserHash([]byte(user)), Offset: l.offset})
	}
	for _, entry := range entries {
		entry.Offset += l.offset
		l.file(entry)
	}
	l.header.Lines += int64(len(entries))
	l.offset += int64(len(records))
	_, err := l.w.Write(records)
	return cause(err)
}

// addJob adds all of a job that is encoded.
func (l *layout) addJob(j *job) error {
	var last piece
	for _, p := range j.pieces {
		err := l.add(p.user, j.records[last.records:p.records], j.entries[last.entries:p.entries])
		if err != nil {
			return err
		}
		last = p
	}
	return nil
}

func (l *layout) file(entry indexfile.Entry) {
	list := &l.entries[entry.Hash>>56]
	*list = append(*list, entry)
}

// finish writes the table and the header.
func (l *layout) finish() error {
	l.header.Table = l.offset
	l.sort()
	if err := l.header.WriteTable(l.w, l.all); err != nil {
		return cause(err)
	}
	if err := l.w.Flush(); err != nil {
		return cause(err)
	}
	_, err := l.out.WriteAt(l.header.Append(nil), 0)
	return cause(err)
}

func (l *layout) sort() {
	var wait sync.WaitGroup
	parts := min(runtime.GOMAXPROCS(0), 4)
	for part := range parts {
		wait.Go(func() {
			for i := part; i < len(l.entries); i += parts {
				slices.SortFunc(l.entries[i], indexfile.Entry.Compare)
			}
		})
	}
	wait.Wait()
}

func (l *layout) all(yield func(indexfile.Entry) bool) {
	for _, list := range l.entries {
		for _, entry := range list {
			if !yield(entry) {
				return
			}
		}
	}
}
