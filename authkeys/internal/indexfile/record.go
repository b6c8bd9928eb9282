package indexfile

const (
	// MaxLine is the longest line in bytes. sshd has had no limit since 7.8; what a
	// lookup may read has one.
	MaxLine = 1 << 20
	// MaxUser is the longest name of a user in bytes: it fits into that of a file.
	MaxUser = 255
)

// A record is
//
//	flags (1 byte), length of the user (1), zero (2), length of the line (4),
//	where the key is (4), its length (4); user; line; key; checksum (8)
//
// The key is a part of the line, which is where it says; only when the line does not
// write it as sshd would, it comes after the line.
const headSize = 16

const (
	flagAuthority = 1 << iota
	flagFirst
	flagsKnown = flagAuthority | flagFirst
)

// A Record is a line of a user.
type Record struct {
	User, Line []byte
	Key        []byte // base64 of the blob, as sshd prints it for %k
	Authority  bool   // the line has cert-authority
	First      bool   // no line of this user is before it
}

// Append appends the record to b. The key is at keyAt in the line, or nowhere in it
// when keyAt is -1.
func (r *Record) Append(b []byte, keyAt int) []byte {
	from := len(b)
	b = append(b, r.flags(), byte(len(r.User)), 0, 0)
	b = appendUint32(b, uint32(len(r.Line)))
	if keyAt >= 0 {
		b = appendUint32(b, uint32(keyAt))
	} else {
		b = appendUint32(b, uint32(len(r.Line)))
	}
	b = appendUint32(b, uint32(len(r.Key)))
	b = append(b, r.User...)
	b = append(b, r.Line...)
	if keyAt < 0 {
		b = append(b, r.Key...)
	}
	return seal(b, from, seedRecord)
}

func (r *Record) flags() (flags byte) {
	if r.Authority {
		flags |= flagAuthority
	}
	if r.First {
		flags |= flagFirst
	}
	return flags
}

// A head is the beginning of a record: how long its parts are.
type head struct{ user, line, keyAt, key int }

func parseHead(b []byte) (head, error) {
	h := head{user: int(b[1])}
	line, keyAt, key := uint32At(b[4:]), uint32At(b[8:]), uint32At(b[12:])
	if b[0]&^flagsKnown != 0 || b[2] != 0 || b[3] != 0 || h.user == 0 || line > MaxLine || keyAt > MaxLine || key > MaxLine {
		return head{}, faultRecord
	}
	h.line, h.keyAt, h.key = int(line), int(keyAt), int(key)
	if within := h.keyAt+h.key <= h.line; !within && h.keyAt != h.line {
		return head{}, faultRecord
	}
	return h, nil
}

const faultRecord = Fault("is damaged: one of its lines")

// size is that of the whole record.
func (h head) size() int { return headSize + h.user + max(h.line, h.keyAt+h.key) + sealSize }

// parseRecord reads a record of exactly these bytes, which it shares.
func parseRecord(b []byte, h head) (Record, error) {
	content, ok := unseal(b, seedRecord)
	if !ok {
		return Record{}, faultRecord
	}
	body := content[headSize+h.user:]
	return Record{
		User: content[headSize : headSize+h.user],
		Line: body[:h.line],
		Key:  body[h.keyAt : h.keyAt+h.key],

		Authority: b[0]&flagAuthority != 0,
		First:     b[0]&flagFirst != 0,
	}, nil
}

// Hash is what the line is filed under.
func (r *Record) Hash() uint64 {
	if r.Authority {
		return AuthorityHash(r.User)
	}
	return KeyHash(r.User, r.Key)
}

// KeyHash is what the lines of a user with a key are filed under.
func KeyHash(user, key []byte) uint64 {
	both := append(make([]byte, 0, 512), user...)
	return hash(seedKey, append(append(both, 0), key...))
}

// AuthorityHash is what the lines of a user with cert-authority are filed under.
func AuthorityHash(user []byte) uint64 { return hash(seedAuthority, user) }

// UserHash is what the first line of a user is filed under.
func UserHash(user []byte) uint64 { return hash(seedUser, user) }

// MarkFirst makes the record that b begins with, which Append has written, the first of
// its user.
func MarkFirst(b []byte) {
	h, err := parseHead(b)
	if err != nil {
		panic("indexfile: no record")
	}
	b[0] |= flagFirst
	content := b[:h.size()-sealSize]
	seal(content, 0, seedRecord) // in its place
}
