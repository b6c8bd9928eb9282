package indexfile

const (
	lookupWindow = 1 << 10 // holds most records
	scanWindow   = 64 << 10
)

// A window is the part of the records that is in memory.
type window struct {
	file   *File
	offset int64
	buf    []byte
}

// Records calls visit with the records from an offset on, until visit returns false or
// an error. What it is given is valid until it returns.
func (f *File) Records(offset int64, visit func(Record) (more bool, err error)) error {
	w := window{file: f, buf: make([]byte, 0, scanWindow)}
	for offset < f.Table {
		r, next, err := w.record(offset)
		if err != nil {
			return err
		}
		if more, err := visit(r); !more || err != nil {
			return err
		}
		offset = next
	}
	return nil
}

// record reads the record at offset, and returns where the next one is.
func (w *window) record(offset int64) (r Record, next int64, err error) {
	b, err := w.bytes(offset, headSize)
	if err != nil {
		return Record{}, 0, err
	}
	h, err := parseHead(b)
	if err != nil {
		return Record{}, 0, err
	}
	if b, err = w.bytes(offset, h.size()); err != nil {
		return Record{}, 0, err
	}
	r, err = parseRecord(b, h)
	return r, offset + int64(h.size()), err
}

// bytes returns n bytes at offset, which is not before the records.
func (w *window) bytes(offset int64, n int) ([]byte, error) {
	if offset < int64(HeaderSize) || offset > w.file.Table-int64(n) {
		return nil, faultRecord
	}
	if from := offset - w.offset; from < 0 || from+int64(n) > int64(len(w.buf)) {
		if err := w.move(offset, n); err != nil {
			return nil, err
		}
	}
	from := int(offset - w.offset)
	return w.buf[from : from+n], nil
}

// move fills the window from offset on, with n bytes at least.
func (w *window) move(offset int64, n int) error {
	if cap(w.buf) < n {
		w.buf = make([]byte, 0, n)
	}
	size := int(min(int64(cap(w.buf)), w.file.Table-offset))
	w.buf, w.offset = w.buf[:size], offset
	if err := w.file.fill(w.buf, offset); err != nil {
		w.buf = w.buf[:0]
		return err
	}
	return nil
}
