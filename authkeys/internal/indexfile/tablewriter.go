package indexfile

// A Writer is an io.Writer.
type Writer interface {
	Write(data []byte) (int, error)
}

// WriteTable writes the table of these entries, which are in order and as many as the
// header says.
func (h Header) WriteTable(w Writer, entries func(yield func(Entry) bool)) error {
	p := &pageWriter{w: w, offset: h.Table, perPage: leafEntries}
	for entry := range entries {
		p.add(entry.Hash, uint64(entry.Offset))
	}
	p.flush()
	for len(p.firsts) > 1 && p.err == nil {
		above := &pageWriter{w: w, offset: p.offset, perPage: innerHashes}
		for _, first := range p.firsts {
			above.add(first)
		}
		above.flush()
		p = above
	}
	return p.err
}

// A pageWriter writes a row of pages. The first error stays.
type pageWriter struct {
	w       Writer
	offset  int64 // of the page
	perPage int
	page    []byte
	items   int      // in the page
	firsts  []uint64 // the first hash of each page
	err     error
}

// add adds an item, which begins with a hash.
func (p *pageWriter) add(item ...uint64) {
	if p.items == p.perPage {
		p.flush()
	}
	if p.items == 0 {
		p.firsts = append(p.firsts, item[0])
	}
	for _, word := range item {
		p.page = appendUint64(p.page, word)
	}
	p.items++
}

func (p *pageWriter) flush() {
	if p.items == 0 || p.err != nil {
		return
	}
	p.page = seal(p.page, 0, uint64(p.offset))
	_, p.err = p.w.Write(p.page)
	p.offset += int64(len(p.page))
	p.page, p.items = p.page[:0], 0
}
