package main

import "syscall"

// A priority is how bad it is, as a digit: see syslog(3).
type priority byte

const (
	problem priority = '3' // keys are refused
	warning priority = '4' // the index answers all the same
)

// authpriv is the facility of sshd's own messages.
const authpriv = "10"

// log says it on standard error, which sshd throws away, and to the journal, or
// else to syslog. It never waits for them.
func (h *helper) log(p priority, message string) {
	_, _ = syscall.Write(h.stderr, []byte(name+": "+message+"\n"))
	if send(h.journal, journalEntry(p, message)) != nil {
		_ = send(h.syslog, syslogEntry(p, message))
	}
}

// journalEntry is in the journal's native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL).
// The message comes with its length: a newline in it must not begin a field.
func journalEntry(p priority, message string) []byte {
	entry := []byte("PRIORITY=" + string(p) + "\nSYSLOG_FACILITY=" + authpriv + "\nSYSLOG_IDENTIFIER=" + name + "\nMESSAGE\n")
	for shift := 0; shift < 64; shift += 8 {
		entry = append(entry, byte(uint64(len(message))>>shift))
	}
	return append(append(entry, message...), '\n')
}

// syslogEntry is as syslog(3) has it, but for the time, which is for whoever
// receives it to add.
func syslogEntry(p priority, message string) []byte {
	return []byte("<8" + string(p) + ">" + name + ": " + message) // authpriv * 8 + p
}

// send sends one packet to the socket at path.
func send(path string, packet []byte) error {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = syscall.Close(fd) }()
	return syscall.Sendto(fd, packet, syscall.MSG_DONTWAIT, &syscall.SockaddrUnix{Name: path})
}
