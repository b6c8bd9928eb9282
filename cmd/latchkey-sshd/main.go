// Command latchkey-sshd is the SSH server of package target as a program: for tests in any language, and, with sshd's own
// options, for the agent or a demonstration to talk to where no sshd is installed and nobody is root.
package main

import "os"

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
