package authkeys_test

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
)

// A lineCase is a line and whether sshd takes the key for a client that comes
// from 127.0.0.1 and whose name is not looked up.
type lineCase struct {
	name   string
	line   string
	accept bool
}

// lineCases are the rules of authorized_keys(5) by example, for a key given as
// "type base64".
func lineCases(key string) []lineCase {
	label, blob, _ := strings.Cut(key, " ")
	bare := blob[:len(blob)/2]
	cases := []lineCase{
		{"bare", key, true},
		{"comment", key + " me@here", true},
		{"comment that looks like options", key + ` from="10.0.0.1" expiry-time="20200101"`, true},
		{"utf-8 comment", key + " żółć", true},
		{"carriage return", key + "\r", true},
		{"carriage return after a comment", key + " me\r", true},
		{"leading blanks", " \t " + key, true},
		{"run of blanks", label + " \t\t " + blob, true},
		{"commented out", "#" + key, false},
		{"leading vertical tab", "\v" + key, false},
		{"leading form feed", "\f" + key, false},
		{"leading no-break space", "\u00a0" + key, false},
		{"leading byte order mark", "\ufeff" + key, false},
		{"label in upper case", strings.ToUpper(label) + " " + blob, false},
		{"short label", "ed25519 " + blob, false},
		{"label of another type", "ssh-rsa " + blob, false},
		{"no label", blob, false},
		{"no blob", label, false},
		{"carriage return within the base64", label + " " + bare + "\r" + blob[len(bare):], true},
		{"vertical tab within the base64", label + " " + bare + "\v" + blob[len(bare):], true},
		{"blank within the base64", label + " " + bare + " " + blob[len(bare):], false},
		{"foreign character within the base64", label + " " + bare + "!" + blob[len(bare):], false},
		{"too much padding", key + "=", false},
		{"comment joined to the key", key + "#me", false},
		{"cut short", label + " " + bare, false},
		{"NUL within the comment", key + " me\x00you", true},
		{"NUL before the key", "\x00" + key, false},
		{"NUL within the options", "no-p\x00ty " + key, false},
		{"continued line", "no-pty \\\n" + key[:20], false},
		{"bad line first", "garbage\n" + key, true},
		{"unterminated quote first", "command=\"\n" + key, true},
		{"bare carriage return between lines", "garbage\r" + key, false},
		{"numbers of SSH 1", "1024 35 123456 me", false},
		{"no final newline before", "\n\n# note\n" + key, true},
		{"blank line of a carriage return", "\r\n" + key, true},
		{"expired, then good", "expiry-time=\"20200101\" " + key + "\n" + key, true},
		{"long comment", key + " " + strings.Repeat("x", 1<<20), true},
		{"long option", `environment="A=` + strings.Repeat("x", 1<<20) + `" ` + key, true},
	}
	for _, option := range optionCases {
		cases = append(cases, lineCase{"option " + option.text, option.text + " " + key, option.accept})
	}
	for _, many := range []struct {
		option string
		limit  int
	}{{`environment="A%d=x"`, 1025}, {`permitopen="h:%d"`, 4097}} {
		cases = append(cases,
			lineCase{"as many as may be: " + many.option, repeat(many.option, many.limit) + " " + key, true},
			lineCase{"one too many: " + many.option, repeat(many.option, many.limit+1) + " " + key, false})
	}
	return cases
}

func repeat(format string, n int) string {
	options := make([]string, n)
	for i := range options {
		options[i] = fmt.Sprintf(format, i+1)
	}
	return strings.Join(options, ",")
}

var optionCases = []struct {
	text   string
	accept bool
}{
	{"restrict", true},
	{"RESTRICT,Pty", true},
	{"pty,restrict", true},
	{"no-pty,no-user-rc,no-port-forwarding,no-agent-forwarding,no-X11-forwarding", true},
	{"port-forwarding,agent-forwarding,X11-forwarding,pty,user-rc", true},
	{"touch-required,no-touch-required,verify-required,no-verify-required", true},
	{",pty", true},
	{"pty,,user-rc", true},
	{"pty,", true},
	{",", true},
	{"unknown", false},
	{"\xfe", false},          // no UTF-8, which must not matter
	{"re\u017ftrict", false}, // a letter that Unicode folds to s
	{"ptyx", false},
	{"no-pty=yes", false},
	{"pty=yes", false},
	{"no-restrict", false},
	{"no-no-pty", false},
	{"no-cert-authority", false},
	{"cert-authority", false},
	{"ssh-ed25519", false},
	{"pty, user-rc", false},
	{`command="a b, c"`, true},
	{`command=""`, true},
	{`COMMAND="x"`, true},
	{`command="a \" b"`, true},
	{`command="a \\ b"`, true},
	{`command="a \\" b"`, true}, // the backslash before the quote hides it, whatever is before
	{`command="a"b`, false},
	{`command=a`, false},
	{`command= "a"`, false},
	{`command`, false},
	{`command="a",command="b"`, false},
	{`command="a`, false},
	{`principals="me"`, false},
	{`principals="a",principals="b"`, false},
	{`from="127.0.0.1"`, true},
	{`from="127.0.0.1",from="127.0.0.1"`, false},
	{`from="127.0.0.0/8"`, true},
	{`from="127.0.0.1/8"`, false},
	{`from="0/0"`, true},
	{`from="127.0/8"`, true},
	{`from="127/8"`, false}, // that is 0.0.0.127,
	{`from="127.1"`, true},
	{`from="0x7f.0.0.1"`, true},
	{`from="0177.0.0.1"`, true},
	{`from="127.0.0.0/33"`, false},
	{`from="127.0.0.0/129"`, false},
	{`from="127.0.0.0/x"`, false},
	{`from="::/0"`, false},
	{`from="::ffff:127.0.0.1"`, false},
	{`from="127.*"`, true},
	{`from="127.0.0.?"`, true},
	{`from="127.0.0.??"`, false},
	{`from="*"`, true},
	{`from="!127.0.0.1,*"`, false},
	{`from="*,!127.0.0.1"`, false},
	{`from="*,!127.*"`, false},
	{`from="!10.0.0.1"`, false},
	{`from="!10.0.0.1,*"`, true},
	{`from="!127.0.0.1,"`, false},
	{`from="10.0.0.1,127.0.0.1"`, true},
	{`from="10.0.0.1, 127.0.0.1"`, false},
	{`from="127.0.0.1, 10.0.0.1"`, true},
	{`from="127.0.0.1,10.0.0.1/8"`, false},
	{`from="127.0.0.1,,*"`, false},
	{`from=""`, false},
	{`from="localhost"`, false},
	{`from="10.0.0.1"`, false},
	{`expiry-time="20990101"`, true},
	{`expiry-time="209901010000"`, true},
	{`expiry-time="20990101000000"`, true},
	{`expiry-time="20990101Z"`, true},
	{`expiry-time="20990101z"`, true},
	{`expiry-time="209901010000UTC"`, true},
	{`expiry-time="20990231"`, true},
	{`expiry-time="2099 1 1"`, true},
	{`expiry-time="20990132"`, false},
	{`expiry-time="20991301"`, false},
	{`expiry-time="209901012460"`, false},
	{`expiry-time="20990101000061"`, true},
	{`expiry-time="20990101000062"`, false},
	{`expiry-time="2099010"`, false},
	{`expiry-time="2099-01-01"`, false},
	{`expiry-time="19700101Z"`, false},
	{`expiry-time="19690101Z"`, false},
	{`expiry-time="20200101"`, false},
	{`expiry-time="20990101",expiry-time="20200101"`, false},
	{`expiry-time=""`, false},
	{`expiry-time="Z"`, false},
	{`environment="A=b"`, true},
	{`environment="A_1="`, true},
	{`environment="1=b"`, true},
	{`environment="A"`, false},
	{`environment="=b"`, false},
	{`environment="A-B=c"`, false},
	{`permitopen="host:22"`, true},
	{`permitopen="host/22"`, true},
	{`permitopen="host:*"`, true},
	{`permitopen="*:22"`, true},
	{`permitopen="[::1]:22"`, true},
	{`permitopen="host:http"`, true},
	{`permitopen="host: 22"`, true},
	{`permitopen=":22"`, true},
	{`permitopen="[::1"`, false},
	{`permitopen="[::1]"`, false},
	{`permitopen="[::1]x:22"`, false},
	{`permitopen="::1:22"`, false},
	{`permitopen="host"`, false},
	{`permitopen="host:"`, false},
	{`permitopen="host:0"`, false},
	{`permitopen="host:65536"`, false},
	{`permitopen="host:no-such-service"`, false},
	{`permitopen="22"`, false},
	{`permitlisten="22"`, true},
	{`permitlisten="*"`, true},
	{`permitlisten="host:22"`, true},
	{`permitlisten="host"`, false},
	{`tunnel="0"`, true},
	{`tunnel="Any"`, true},
	{`tunnel="2147483645"`, true},
	{`tunnel="2147483646"`, false},
	{`tunnel="-1"`, false},
	{`tunnel="x"`, false},
	{`tunnel=1`, false},
}

// A blobCase is a key as it stands in a blob.
type blobCase struct {
	name, label string
	parts       []string
	valid       bool
}

const (
	p256Point = "\x04" + // the base point of P-256
		"\x6b\x17\xd1\xf2\xe1\x2c\x42\x47\xf8\xbc\xe6\xe5\x63\xa4\x40\xf2\x77\x03\x7d\x81\x2d\xeb\x33\xa0\xf4\xa1\x39\x45\xd8\x98\xc2\x96" +
		"\x4f\xe3\x42\xe2\xfe\x1a\x7f\x9b\x8e\xe7\xeb\x4a\x7c\x0f\x9e\x16\x2b\xce\x33\x57\x6b\x31\x5e\xce\xcb\xb6\x40\x68\x37\xbf\x51\xf5"
	sk256 = "sk-ecdsa-sha2-nistp256@openssh.com"
	web   = "webauthn-sk-ecdsa-sha2-nistp256@openssh.com"
	skEd  = "sk-ssh-ed25519@openssh.com"
)

func blobCases() []blobCase {
	point := strings.Repeat("p", 32)
	e, n := "\x01\x00\x01", "\x00\xc3"+strings.Repeat("n", 255)
	return []blobCase{
		{"ed25519", "ssh-ed25519", []string{"ssh-ed25519", point}, true},
		{"ed25519 by its short name", "ssh-ed25519", []string{"ED25519", point}, true},
		{"ed25519 too short", "ssh-ed25519", []string{"ssh-ed25519", point[1:]}, false},
		{"ed25519 with more", "ssh-ed25519", []string{"ssh-ed25519", point, ""}, false},
		{"rsa", "ssh-rsa", []string{"ssh-rsa", e, n}, true},
		{"rsa labelled rsa-sha2-256", "rsa-sha2-256", []string{"ssh-rsa", e, n}, true},
		{"rsa labelled rsa-sha2-512", "rsa-sha2-512", []string{"ssh-rsa", e, n}, true},
		{"rsa named rsa-sha2-512 within", "ssh-rsa", []string{"rsa-sha2-512", e, n}, true},
		{"rsa by its short name", "ssh-rsa", []string{"Rsa", e, n}, true},
		{"rsa with needless zeros", "ssh-rsa", []string{"ssh-rsa", "\x00\x00" + e, "\x00\x00" + n}, true},
		{"rsa negative", "ssh-rsa", []string{"ssh-rsa", e, n[1:]}, false},
		{"rsa of 1024 bits", "ssh-rsa", []string{"ssh-rsa", e, n[:129]}, true},
		{"rsa of 1023 bits", "ssh-rsa", []string{"ssh-rsa", e, "\x43" + n[2:129]}, false},
		{"rsa of 16384 bits", "ssh-rsa", []string{"ssh-rsa", e, n + strings.Repeat("n", 2048-256)}, true},
		{"rsa of more bits", "ssh-rsa", []string{"ssh-rsa", e, n + strings.Repeat("n", 2049-256)}, false},
		{"dss", "ssh-dss", []string{"ssh-dss", n[:129], n[:21], e, e}, true},
		{"p256", "ecdsa-sha2-nistp256", []string{"ecdsa-sha2-nistp256", "nistp256", p256Point}, true},
		{"p256 of another curve", "ecdsa-sha2-nistp256", []string{"ecdsa-sha2-nistp256", "nistp384", p256Point}, false},
		{"p256 labelled p384", "ecdsa-sha2-nistp384", []string{"ecdsa-sha2-nistp256", "nistp256", p256Point}, false},
		{"p256 off the curve", "ecdsa-sha2-nistp256", []string{"ecdsa-sha2-nistp256", "nistp256", p256Point[:64] + "x"}, false},
		{"p256 compressed", "ecdsa-sha2-nistp256", []string{"ecdsa-sha2-nistp256", "nistp256", "\x03" + p256Point[1:33]}, false},
		{"p256 by its short name", "ecdsa-sha2-nistp256", []string{"ECDSA", "nistp256", p256Point}, false},
		{"sk-ecdsa", sk256, []string{sk256, "nistp256", p256Point, "ssh:"}, true},
		{"sk-ecdsa labelled webauthn", web, []string{sk256, "nistp256", p256Point, "ssh:"}, true},
		{"sk-ecdsa named webauthn within", sk256, []string{web, "nistp256", p256Point, "ssh:"}, true},
		{"sk-ecdsa without application", sk256, []string{sk256, "nistp256", p256Point}, false},
		{"sk-ed25519", skEd, []string{skEd, point, "ssh:"}, true},
		{"sk-ed25519, application ends in NUL", skEd, []string{skEd, point, "ssh:\x00"}, true},
		{"sk-ed25519, application holds NUL", skEd, []string{skEd, point, "s\x00h:"}, false},
		{"empty", "ssh-ed25519", nil, false},
		{"name only", "ssh-ed25519", []string{"ssh-ed25519"}, false},
	}
}

func (c blobCase) line() string {
	var blob []byte
	for _, part := range c.parts {
		blob = append(binary.BigEndian.AppendUint32(blob, uint32(len(part))), part...)
	}
	return c.label + " " + base64.StdEncoding.EncodeToString(blob)
}

// testKey is a key whose private half nobody has.
func testKey(t testing.TB, seed byte) string {
	t.Helper()
	return blobCase{label: "ssh-ed25519", parts: []string{"ssh-ed25519", strings.Repeat(string(seed), 32)}}.line()
}
