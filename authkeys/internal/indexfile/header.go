package indexfile

const (
	magic   = "latchkey index"
	version = 1

	// HeaderSize is where the records begin.
	HeaderSize = len(magic) + 2 + 3*8 + sealSize
)

// maxCount bounds what the header may claim, so that sums of it do not overflow.
const maxCount = 1 << 40

// A Header is the beginning of an index. There is one entry in the table for each
// user and one for each line.
type Header struct {
	Users, Lines int64
	Table        int64 // offset of the table, where the records end
}

// Append appends the header to b.
func (h Header) Append(b []byte) []byte {
	from := len(b)
	b = append(b, magic...)
	b = append(b, version&0xff, version>>8)
	b = appendUint64(b, uint64(h.Users))
	b = appendUint64(b, uint64(h.Lines))
	b = appendUint64(b, uint64(h.Table))
	return seal(b, from, seedHeader)
}

// parseHeader reads the header of a file of this size.
func parseHeader(b []byte, size int64) (Header, error) {
	if string(b[:len(magic)]) != magic {
		return Header{}, Fault("is no key index")
	}
	if got := int(b[len(magic)]) | int(b[len(magic)+1])<<8; got != version {
		return Header{}, Fault("is of another version: build it again")
	}
	content, ok := unseal(b, seedHeader)
	if !ok {
		return Header{}, Fault("is damaged: its header")
	}
	users, lines, table := uint64At(content[len(magic)+2:]), uint64At(content[len(magic)+10:]), uint64At(content[len(magic)+18:])
	if users > maxCount || lines > maxCount || users > lines || table < uint64(HeaderSize) || table > uint64(size) {
		return Header{}, Fault("is damaged: what its header says cannot be")
	}
	h := Header{int64(users), int64(lines), int64(table)}
	if h.Size() != size {
		return Header{}, Fault("is damaged: it is shorter or longer than it says")
	}
	return h, nil
}

// Size is that of the whole file.
func (h Header) Size() int64 {
	levels := h.levels()
	if len(levels) == 0 {
		return h.Table
	}
	return levels[len(levels)-1].end()
}
