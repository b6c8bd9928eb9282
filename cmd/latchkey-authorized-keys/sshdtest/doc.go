// Package sshdtest holds latchkey-authorized-keys to what a logon shows: the
// program as it is built, run by a real sshd, on indexes as they are built.
//
// sshd, and not this package, is who says what a line of authorized_keys
// means: the same lines are given to it once as a file and once by way of an
// index and the program, and a client must see no difference.
package sshdtest
