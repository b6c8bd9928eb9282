// Package target is an SSH server to log in to: for tests, for demonstrations and for any program that wants
// to see a real public-key challenge-response without installing sshd, being root, or touching a file of the
// machine. [Start] starts one for a test, [New] for a program.
//
// It decides as OpenSSH does, from the same two files: authorized_keys, option by option, and, when it is given
// one, sshd_config. What restricts logins and is not supported here is refused when it is read, never ignored. Without a
// configuration the options say who may log in. Sessions run commands for real, as the user the server itself runs as,
// or a [Handler] in their place; SFTP stays within a folder; forwarding is granted as sshd grants it.
//
// The server remembers what happened, as an [Event] for each decision, and misbehaves on purpose: see [Fault].
//
// The connection's channels and requests are served by gliderlabs/ssh; authentication and sessions are not. That library keeps one
// Permissions for all attempts of a connection and remembers a key that was merely asked about, so its
// handlers are left alone, and a session's identity is what the last callback of x/crypto/ssh returned for a proof.
package target
