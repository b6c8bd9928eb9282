// Package testmachine gives a test a throw-away Linux machine with a real OpenSSH server.
//
// A machine is a copy-on-write view of the machine the test runs on (or of a
// small Debian tree with another OpenSSH release): the same programs and
// libraries, but its own /etc/ssh, /home, /root, /run, /tmp and /dev, its own
// accounts and its own port on 127.0.0.1. It costs a few milliseconds and is
// gone with the test. Nothing a test does in it reaches the real machine: the
// mounts live in a mount namespace of the test process alone, so that even a
// test killed by SIGKILL leaves none behind.
//
// It needs root. [RequireRoot] is the one place that decides what happens
// without: the test is skipped, or fails where LATCHKEY_NO_SKIP is set.
//
// Only tests import this package.
package testmachine
