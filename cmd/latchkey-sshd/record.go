package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/latchkey-ssh/latchkey/sshd/target"
)

// openRecord opens the file for the record, which is born for its owner alone: commands are in it. It is closed with the program.
func (p *program) openRecord() (io.Writer, error) {
	if p.record == "-" {
		return p.stderr.to, nil
	}
	file, err := openLog(p.record)
	if err != nil {
		return nil, fmt.Errorf("--record: %w", err)
	}
	return file, nil
}

// openLog opens a file, a terminal or the like, or a pipe that somebody reads from already: it does not wait for that.
func openLog(name string) (*os.File, error) {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND|syscall.O_NONBLOCK, 0o600)
	if errors.Is(err, syscall.ENXIO) {
		return nil, fmt.Errorf("open %s: it is a socket, or a pipe that nobody reads", name)
	}
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() && info.Mode()&(os.ModeNamedPipe|os.ModeCharDevice) == 0 {
		err = fmt.Errorf("open %s: it is neither a file, a pipe nor a terminal", name)
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

// endRecord waits until what happened is in the record, for a while, and tells whether all of it is.
func (p *program) endRecord() error {
	if p.recorded == nil {
		return nil
	}
	if !p.recordLines.flush() {
		return errIncomplete // who is still writing may hold what check asks
	}
	return p.recorded.check()
}

// lostEvent is a line of the record for events that are not in it.
func lostEvent(lost int) []byte {
	line, _ := json.Marshal(target.Event{Time: time.Now(), Kind: "lost", Reason: lostText(lost)}) // has nothing that could fail
	return append(line, '\n')
}
