// Package target is an SSH server to log in to: for tests, for demonstrations and for any program that wants
// to see a real public-key challenge-response without installing sshd, being root, or touching a file of the
// machine.
//
// It decides as OpenSSH does, from the same two files: authorized_keys, option by option, and, when it is given
// one, sshd_config, for as much of it as concerns who may log in with what. What it cannot honour it refuses: a
// configuration that names a feature that restricts logins and that this server lacks is an error, never ignored. Sessions
// run a command as the user the server itself runs as, without a terminal; every kind of forwarding,
// every subsystem and every environment variable is refused.
//
// The SSH connection is served by gliderlabs/ssh; authentication is not. That library keeps one
// Permissions for all attempts of a connection and remembers a key that was merely asked about, so its
// handlers are left alone, and a session's identity is what the last callback of x/crypto/ssh returned for a proof.
package target
