package main

import "syscall"

// handful is how much is collected before it is written: what a pipe of Linux
// holds. Nearly every answer is less, and one write.
const handful = 64 << 10

// mouthful is how much is written at once at most: an sshd that reads 16 MiB slowly
// must not look like one that does not read.
const mouthful = 1 << 20

// An output collects lines and hands them over.
type output struct {
	fd    int
	text  []byte
	taken func() // called each time that some of it has been taken
}

// line adds a line, without its newline.
func (o *output) line(text []byte) error {
	o.text = append(append(o.text, text...), '\n')
	if len(o.text) < handful {
		return nil
	}
	return o.flush()
}

// flush writes what has been collected. It is syscall.EPIPE when nobody reads
// any more; the signal that comes with it does nothing to a Go program that does
// not write by package os.
func (o *output) flush() error {
	for rest := o.text; len(rest) > 0; {
		n, err := syscall.Write(o.fd, rest[:min(len(rest), mouthful)])
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return &syscallError{"write", err}
		}
		rest = rest[n:]
		o.taken()
	}
	o.text = o.text[:0]
	return nil
}

// A syscallError is a system call that failed; package os has one like it.
type syscallError struct {
	call string
	err  error
}

func (e *syscallError) Error() string { return e.call + ": " + e.err.Error() }
func (e *syscallError) Unwrap() error { return e.err }
