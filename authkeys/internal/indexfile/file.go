package indexfile

// ReadAt reads len(p) bytes at offset, as pread(2) does: fewer only at the end of the
// file.
type ReadAt func(p []byte, offset int64) (int, error)

// A File is an index whose header is sound.
type File struct {
	Header
	levels []level
	read   ReadAt
}

// Open reads the header of an index of this size.
func Open(read ReadAt, size int64) (*File, error) {
	f := &File{read: read}
	var buf [HeaderSize]byte
	if size < int64(len(buf)) {
		return nil, Fault("is no key index: it is too short")
	}
	if err := f.fill(buf[:], 0); err != nil {
		return nil, err
	}
	var err error
	if f.Header, err = parseHeader(buf[:], size); err != nil {
		return nil, err
	}
	f.levels = f.Header.levels()
	return f, nil
}

// fill reads exactly this many bytes.
func (f *File) fill(b []byte, offset int64) error {
	for len(b) > 0 {
		n, err := f.read(b, offset)
		if err != nil {
			return err
		}
		if n <= 0 || n > len(b) {
			return Fault("was cut short while it was read")
		}
		b, offset = b[n:], offset+int64(n)
	}
	return nil
}

// page reads a page of a level into buf.
func (f *File) page(l level, number int64, buf []byte) ([]byte, error) {
	offset, items := l.page(number)
	b := buf[:items*l.itemSize+sealSize]
	if err := f.fill(b, offset); err != nil {
		return nil, err
	}
	page, ok := unseal(b, uint64(offset))
	if !ok {
		return nil, faultTable
	}
	return page, nil
}

const faultTable = Fault("is damaged: its table")

// leaf returns the number of the first page of entries that may have this hash.
func (f *File) leaf(hash uint64, buf []byte) (number int64, err error) {
	for i := len(f.levels) - 1; i > 0; i-- {
		page, err := f.page(f.levels[i], number, buf)
		if err != nil {
			return 0, err
		}
		// What begins with the hash may have begun at the end of the page before.
		child := max(0, f.levels[i].before(page, hash)-1)
		number = number*innerHashes + int64(child)
	}
	return number, nil
}

// offsets calls visit with the offset of each record that is filed under the hash, in
// order, until visit returns false or an error.
func (f *File) offsets(hash uint64, visit func(offset int64) (more bool, err error)) error {
	if len(f.levels) == 0 {
		return nil
	}
	buf := make([]byte, maxPageSize)
	first, err := f.leaf(hash, buf)
	if err != nil {
		return err
	}
	entries := f.levels[0]
	for number := first; number < entries.pages(); number++ {
		page, err := f.page(entries, number, buf)
		if err != nil {
			return err
		}
		item := entries.before(page, hash)
		if number > first && item > 0 {
			return faultTable // not in order: do not go through all of it
		}
		for ; item < len(page)/entrySize; item++ {
			if entries.hashAt(page, item) != hash {
				return nil
			}
			more, err := visit(int64(uint64At(page[item*entrySize+hashSize:])))
			if !more || err != nil {
				return err
			}
		}
	}
	return nil
}

// find calls visit with each record that is filed under the hash, in order.
func (f *File) find(hash uint64, visit func(r Record, next int64) (more bool, err error)) error {
	w := window{file: f, buf: make([]byte, 0, lookupWindow)}
	begin, end := int64(0), int64(HeaderSize)
	return f.offsets(hash, func(offset int64) (more bool, err error) {
		switch {
		case offset == begin:
			return true, nil // filed twice, as both its hashes are the same
		case offset < end:
			return false, faultTable // records that overlap could have a small file read for long
		}
		r, next, err := w.record(offset)
		if err != nil {
			return false, err
		}
		begin, end = offset, next
		return visit(r, next)
	})
}

// Key calls visit with the lines of a user with that key, in order.
func (f *File) Key(user, key string, visit func(line []byte) error) error {
	return f.find(KeyHash([]byte(user), []byte(key)), func(r Record, _ int64) (bool, error) {
		if r.Authority || string(r.User) != user || string(r.Key) != key {
			return true, nil
		}
		return true, visit(r.Line)
	})
}

// Authorities calls visit with the lines of a user with cert-authority, in order.
func (f *File) Authorities(user string, visit func(line []byte) error) error {
	return f.find(AuthorityHash([]byte(user)), func(r Record, _ int64) (bool, error) {
		if !r.Authority || string(r.User) != user {
			return true, nil
		}
		return true, visit(r.Line)
	})
}

// User calls visit with all lines of a user, in order.
func (f *File) User(user string, visit func(line []byte) error) error {
	begin := int64(-1)
	err := f.find(UserHash([]byte(user)), func(r Record, next int64) (bool, error) {
		if string(r.User) != user {
			return true, nil
		}
		begin = next
		return false, visit(r.Line)
	})
	if err != nil || begin < 0 {
		return err
	}
	return f.Records(begin, func(r Record) (bool, error) {
		if r.First || string(r.User) != user {
			return false, nil
		}
		return true, visit(r.Line)
	})
}
