// Package rooted serves SFTP in one folder and nothing outside of it.
//
// To the client the folder is "/". Every access goes through an [os.Root], which walks a path step by step from
// an open descriptor: neither "..", nor a symbolic link, nor a folder that is moved while the path is walked
// leads out. Links are read and made like any other entry; one that points outside is not followed here. It may be by others:
// a client is refused a link whose text climbs out of the folder from where it is made or moved to, but can move a
// folder that a link is in, or make one through a link to a folder.
//
// Requests are served one after another, as sftp-server(8) does, so what is appended stays in order.
package rooted

import (
	"os"
	"path"
	"strings"
	"sync/atomic"

	"github.com/pkg/sftp"
)

// maxHandles is how many files and folders a client may have open at once.
const maxHandles = 256

// folder answers the requests of one client. It implements every interface of [sftp.Handlers].
type folder struct {
	root     *os.Root
	readOnly bool
	panicked func(fault any) // nil where nobody is told
	handles  atomic.Int64
}

func (f *folder) handlers() sftp.Handlers {
	return sftp.Handlers{FileGet: f, FilePut: f, FileCmd: f, FileList: f}
}

// below is a client's path as the root takes it.
func below(name string) string {
	if name = strings.TrimPrefix(path.Clean("/"+name), "/"); name == "" {
		return "."
	}
	return name
}

// acquire counts a handle that is about to be opened.
func (f *folder) acquire() error {
	if f.handles.Add(1) > maxHandles {
		f.release()
		return errTooMany
	}
	return nil
}

func (f *folder) release() { f.handles.Add(-1) }
