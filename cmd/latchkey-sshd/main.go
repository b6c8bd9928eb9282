// Command latchkey-sshd is the SSH server of package target as a program that takes sshd's own options: something for
// the agent, a demonstration or a test to talk to where no sshd is installed and nobody is root.
package main

import "os"

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
