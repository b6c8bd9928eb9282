// Package e2e tests latchkey's programs on whole systems: a Debian that boots,
// with systemd and its own sshd. It needs root, and the trees that `make
// images` makes.
package e2e
