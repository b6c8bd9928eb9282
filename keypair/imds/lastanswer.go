package imds

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"time"
)

// lastAnswer is a ResponseWriter over a connection that net/http has given away. It sends
// the bytes that net/http would send as the last answer of a connection.
type lastAnswer struct {
	conn   net.Conn // nil once it is hijacked
	header http.Header
	head   bool // no body is sent
	status int  // 0 as long as there is no answer
	body   bytes.Buffer
}

func (a *lastAnswer) Header() http.Header { return a.header }

func (a *lastAnswer) WriteHeader(status int) { a.status = status }

func (a *lastAnswer) Write(part []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	return a.body.Write(part)
}

// Hijack gives the connection away again. There is nothing buffered.
func (a *lastAnswer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn := a.conn
	a.conn = nil
	return conn, nil, nil
}

// send sends what was written, at once.
func (a *lastAnswer) send() {
	if a.status == 0 || a.conn == nil {
		return
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "HTTP/1.1 %d %s\r\n", a.status, http.StatusText(a.status))
	_ = a.header.Write(&out) // sorted; a Buffer takes everything
	fmt.Fprintf(&out, "Date: %s\r\n", time.Now().UTC().Format(http.TimeFormat))
	if a.header.Get("Content-Length") == "" {
		fmt.Fprintf(&out, "Content-Length: %d\r\n", a.body.Len())
	}
	out.WriteString("Connection: close\r\n\r\n")
	if !a.head {
		out.Write(a.body.Bytes())
	}
	_ = a.conn.SetWriteDeadline(time.Now().Add(sendTime))
	_, _ = a.conn.Write(out.Bytes()) // an error means that the client is gone
}
