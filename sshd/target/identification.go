package target

import (
	"errors"
	"io"
	"regexp"
	"strings"
)

// identification is the client's first line (RFC 4253 section 4.2) as far as it has come. The library would pass over
// lines that are none, as a client may; a server is to hear SSH at once, or to say that it does not, as sshd does.
type identification struct {
	line []byte
	over bool
}

var (
	errNoIdentification = errors.New("the client's first line is no SSH identification (RFC 4253 section 4.2)")
	errVersion          = errors.New("the client speaks another version of the protocol than 2.0")

	identificationForm = regexp.MustCompile(`^SSH-([0-9]+)\.([0-9]+)-.`)
)

// add takes what was read next.
func (i *identification) add(read []byte) error {
	for _, b := range read {
		switch {
		case i.over:
			return nil
		case b == '\n':
			i.over = true
			return checkIdentification(strings.TrimSuffix(string(i.line), "\r"))
		case b == 0, strings.HasSuffix(string(i.line), "\r"), len(i.line) >= maxIdentification-1:
			return errNoIdentification
		}
		i.line = append(i.line, b)
	}
	return nil
}

func checkIdentification(line string) error {
	form := identificationForm.FindStringSubmatch(line)
	if form == nil {
		return errNoIdentification
	}
	if form[1] != "2" && (form[1] != "1" || form[2] != "99") {
		return errVersion
	}
	return nil
}

// refuseIdentification tells the client in sshd's words, and cuts it off.
func (c *connection) refuseIdentification(why error) {
	notice := "Invalid SSH identification string.\r\n"
	if errors.Is(why, errVersion) {
		notice = "Protocol major versions differ.\r\n"
	}
	_, _ = io.WriteString(c.net, notice)
	c.cut(why.Error())
}
