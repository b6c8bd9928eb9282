// Package indexfile is the format of a key index: what package indexer writes
// and package index reads. All numbers are little-endian.
//
//	header    magic "latchkey index", version, users, lines, where the table
//	          begins, checksum
//	records   one for each line: its user, the line as it was, its key, checksum.
//	          Sorted by user; a user's are in the order of the lines
//	table     entries {hash, offset of a record}, sorted by both, in pages with a
//	          checksum each; then pages with the first hash of each of those, and
//	          so on until there is one page
//
// A line is filed under its user and its key in base64 as sshd prints it for %k; a
// line with cert-authority under its user and that fact; and the first line of each
// user under the user alone. What is found is compared with what was sought, so
// lines whose hashes collide cost a read, never a wrong answer.
//
// Where everything is follows from the numbers in the header, which have to agree
// with the file's size, and all that is read is bounded and checked. So a file that
// is damaged, cut short or made to do harm is a [Fault], whatever is in it. The
// checksums find damage; they are no signature.
//
// # The hash
//
// The hash is SipHash-2-4 with a key that is known, as the same lines have to give the
// same file. Whoever may add keys, as a user of a Git host can, may thus search for two
// whose hashes are equal (some 2^32 tries), or for many that lie close together
// (cheap). The latter gains nothing: pages hold a fixed number of entries, however
// the hashes lie. Of r equal hashes all r records are read when one of those keys is
// offered, and by nobody else's key, unless its hash can be met by design: a second
// preimage, some 2^64 tries for each.
package indexfile

// A Fault says what is wrong with an index.
type Fault string

func (f Fault) Error() string { return string(f) }
