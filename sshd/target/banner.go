package target

import (
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"
)

// maxBanner is the largest file that sshd shows, in bytes.
const maxBanner = 1 << 20

// banner is what is shown before the login: the option's text, else the file that Banner names for this user. As in sshd, a
// file that cannot be read is no banner.
func (c *connection) banner(meta ssh.ConnMetadata) string {
	if text := c.server.options.banner; text != "" {
		return text
	}
	p, err := c.policyFor(meta.User())
	if err != nil {
		return ""
	}
	file := p.value("banner")
	if strings.EqualFold(file, "none") {
		return ""
	}
	text, err := readRegular(filepath.Join(p.root, file), maxBanner)
	if err != nil {
		return ""
	}
	return string(text)
}
