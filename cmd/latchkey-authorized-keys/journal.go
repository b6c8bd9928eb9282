package main

import (
	"syscall"
	"unsafe"
)

// A priority is how bad it is, as a digit: see syslog(3).
type priority byte

const (
	problem priority = '3' // keys are refused
	warning priority = '4' // the index answers all the same
)

// authpriv is the facility of sshd's own messages.
const authpriv = "10"

// log says it to the journal, or else to syslog, and then on standard error, which
// sshd throws away. It waits for none of them.
func (h *helper) log(p priority, message string) {
	if send(h.journal, journalEntry(p, message)) != nil {
		_ = send(h.syslog, syslogEntry(p, message))
	}
	say(h.stderr, name+": "+message+"\n")
}

// say writes what of a text can be written without waiting, if anything: a pipe
// that is writable takes at least PIPE_BUF bytes (pipe(7)).
func say(fd int, text string) {
	const pipeBuf = 4096
	if isWritable(fd) {
		_, _ = syscall.Write(fd, []byte(text[:min(len(text), pipeBuf)]))
	}
}

// isWritable is poll(2) for a single descriptor.
func isWritable(fd int) bool {
	const pollOut = 0x4
	poll := struct {
		fd              int32
		events, revents int16
	}{int32(fd), pollOut, 0}
	var atOnce syscall.Timespec
	_, _, _ = syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&poll)), 1, uintptr(unsafe.Pointer(&atOnce)), 0, 0, 0)
	return poll.revents == pollOut
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
