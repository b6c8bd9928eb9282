package rooted

import "github.com/pkg/sftp"

// guard, deferred, makes a failure of a panic: the library calls its handlers on goroutines of its own, where a panic
// would end the whole process.
func (f *folder) guard(err *error) {
	fault := recover()
	if fault == nil {
		return
	}
	*err = sftp.ErrSSHFxFailure
	if f.panicked != nil {
		f.panicked(fault)
	}
}
