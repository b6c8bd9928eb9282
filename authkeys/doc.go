// Package authkeys reads authorized_keys files exactly as OpenSSH does, edits
// the one block in them that latchkey owns, and writes the result safely.
//
// The parser keeps every byte, so that an editor built on it can promise to
// leave foreign lines alone: (*File).Bytes is what Parse was given, whatever
// that was. The block's markers name the fingerprints of the keys in it; only
// the markers and the lines of those keys are ever replaced, so a damaged block
// cannot swallow a user's line.
//
// Read and Edit touch the file only through directory descriptors, with the
// credentials of the user it belongs to, and replace it as a whole by a compare
// and swap on its name.
//
// Sources: sshd(8) AUTHORIZED_KEYS FILE FORMAT, sshd_config(5)
// AuthorizedKeysFile, ssh_config(5) PATTERNS, RFC 4253 section 6.6, RFC 5656
// section 3.1, RFC 8709 section 4, and the behaviour of sshd 9.2 and 10.x where
// they say nothing.
package authkeys
