package target

import "net"

// maxIdentification is how long a client's identification may be, with CR and LF (RFC 4253 section 4.2).
const maxIdentification = 255

// readAheadConn reads the client's identification at once, which the library asks for byte by byte: that would
// be up to 255 system calls. What came with it is handed out first.
type readAheadConn struct {
	net.Conn
	ahead []byte
}

func (c *readAheadConn) Read(p []byte) (int, error) {
	if len(c.ahead) == 0 && len(p) != 1 {
		return c.Conn.Read(p)
	}
	if len(c.ahead) == 0 {
		buffer := make([]byte, maxIdentification)
		n, err := c.Conn.Read(buffer)
		if n == 0 {
			return 0, err
		}
		c.ahead = buffer[:n]
	}
	n := copy(p, c.ahead)
	if c.ahead = c.ahead[n:]; len(c.ahead) == 0 {
		c.ahead = nil
	}
	return n, nil
}
