// latchkey-authorized-keys is sshd's AuthorizedKeysCommand: see
// latchkey-authorized-keys(8).
package main

func main() { panic("not yet") }
