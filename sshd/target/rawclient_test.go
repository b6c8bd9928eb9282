package target

import (
	"bufio"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// The numbers of the messages that are written and looked for here (RFC 4250 section 4.1.2).
const (
	msgNewKeys         = 21
	msgUserAuthSuccess = 52
)

// rawClient is the least client that gets through a key exchange (RFC 8731, curve25519-sha256; RFC 5647, AES-GCM) and
// then sends whatever payload it is given. It verifies nothing: who is at the other end is known.
type rawClient struct {
	net.Conn
	in       *bufio.Reader
	out, inn *direction // nil before SSH_MSG_NEWKEYS
}

// newRawClient exchanges versions.
func newRawClient(conn net.Conn) (c *rawClient, theirs string, err error) {
	c = &rawClient{Conn: conn, in: bufio.NewReader(conn)}
	if theirs, err = c.in.ReadString('\n'); err != nil {
		return nil, "", err
	}
	_, err = io.WriteString(conn, rawVersion+"\r\n")
	return c, strings.TrimRight(theirs, "\r\n"), err
}

const rawVersion = "SSH-2.0-raw"

// rawKexInit offers one algorithm of each sort.
func rawKexInit() []byte {
	lists := struct {
		Cookie                                                            [16]byte `sshtype:"20"`
		Kex, HostKey, CipherOut, CipherIn, MACOut, MACIn, CompOut, CompIn []string
		LanguagesOut, LanguagesIn                                         []string
		FirstFollows                                                      bool
		Reserved                                                          uint32
	}{
		Kex: []string{"curve25519-sha256"}, HostKey: []string{"ssh-ed25519"},
		CipherOut: []string{"aes128-gcm@openssh.com"}, CipherIn: []string{"aes128-gcm@openssh.com"},
		MACOut: []string{"hmac-sha2-256"}, MACIn: []string{"hmac-sha2-256"}, CompOut: []string{"none"}, CompIn: []string{"none"},
	}
	return ssh.Marshal(lists)
}

// exchangeKeys goes on until both sides encrypt.
func (c *rawClient) exchangeKeys(theirVersion string) error {
	ours := rawKexInit()
	if err := c.write(ours); err != nil {
		return err
	}
	theirs, err := c.read()
	if err != nil {
		return err
	}
	private, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	public := private.PublicKey().Bytes()
	if err := c.write(ssh.Marshal(struct {
		Public []byte `sshtype:"30"`
	}{public})); err != nil {
		return err
	}
	packet, err := c.read()
	if err != nil {
		return err
	}
	var reply struct {
		HostKey, Public, Signature []byte `sshtype:"31"`
	}
	if err := ssh.Unmarshal(packet, &reply); err != nil {
		return err
	}
	secret, err := sharedSecret(private, reply.Public)
	if err != nil {
		return err
	}
	hash := sha256.New()
	for _, part := range [][]byte{[]byte(rawVersion), []byte(theirVersion), ours, theirs, reply.HostKey, public, reply.Public} {
		hash.Write(ssh.Marshal(struct{ S []byte }{part}))
	}
	hash.Write(secret)
	return c.takeKeys(secret, hash.Sum(nil))
}

// sharedSecret is the secret as it is hashed.
func sharedSecret(private *ecdh.PrivateKey, theirs []byte) ([]byte, error) {
	public, err := ecdh.X25519().NewPublicKey(theirs)
	if err != nil {
		return nil, err
	}
	secret, err := private.ECDH(public)
	if err != nil {
		return nil, err
	}
	return ssh.Marshal(struct{ K *big.Int }{new(big.Int).SetBytes(secret)}), nil
}

func (c *rawClient) takeKeys(secret, hash []byte) error {
	if err := c.write([]byte{msgNewKeys}); err != nil {
		return err
	}
	packet, err := c.read()
	if err != nil {
		return fmt.Errorf("read SSH_MSG_NEWKEYS: %w", err)
	}
	if packet[0] != msgNewKeys {
		return fmt.Errorf("message %d in the place of SSH_MSG_NEWKEYS", packet[0])
	}
	derive := func(letter byte) []byte {
		sum := sha256.Sum256(slices.Concat(secret, hash, []byte{letter}, hash))
		return sum[:]
	}
	if c.out, err = newDirection(derive('C'), derive('A')); err != nil {
		return err
	}
	c.inn, err = newDirection(derive('D'), derive('B'))
	return err
}

// direction encrypts one direction.
type direction struct {
	aead  cipher.AEAD
	nonce []byte
}

func newDirection(key, iv []byte) (*direction, error) {
	block, err := aes.NewCipher(key[:16])
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	return &direction{aead: aead, nonce: slices.Clone(iv[:12])}, err
}

// next is the nonce of the next packet.
func (d *direction) next() []byte {
	nonce := slices.Clone(d.nonce)
	binary.BigEndian.PutUint64(d.nonce[4:], binary.BigEndian.Uint64(d.nonce[4:])+1)
	return nonce
}

// framePacket is the packet of RFC 4253 section 6, in the clear. unaligned is how much of it counts for the padding: not the length where
// that is not encrypted.
func framePacket(payload []byte, block, unaligned int) []byte {
	padding := block - (len(payload)+5-unaligned)%block
	if padding < 4 {
		padding += block
	}
	packet := binary.BigEndian.AppendUint32(nil, uint32(len(payload)+1+padding))
	packet = append(packet, byte(padding))
	packet = append(packet, payload...)
	return append(packet, make([]byte, padding)...)
}

// write sends a payload.
func (c *rawClient) write(payload []byte) error {
	packet := framePacket(payload, 8, 0)
	if c.out != nil {
		plain := framePacket(payload, 16, 4)
		packet = c.out.aead.Seal(plain[:4:4], c.out.next(), plain[4:], plain[:4])
	}
	_, err := c.Write(packet)
	return err
}

// read returns the next payload.
func (c *rawClient) read() ([]byte, error) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(c.in, head); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head)
	if n > 1<<18 {
		return nil, fmt.Errorf("packet of %d bytes", n)
	}
	if c.inn != nil {
		n += uint32(c.inn.aead.Overhead())
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(c.in, body); err != nil {
		return nil, err
	}
	if c.inn != nil {
		var err error
		if body, err = c.inn.aead.Open(nil, c.inn.next(), body, head); err != nil {
			return nil, err
		}
	}
	if len(body) < 2 || int(body[0]) > len(body)-2 {
		return nil, errors.New("packet without payload")
	}
	return body[1 : len(body)-int(body[0])], nil
}

// startRaw has a server serve a client that has exchanged keys. served tells of the end at the server's side.
func startRaw(s *Server) (c *rawClient, served <-chan error, err error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- s.ServeConn(theirs) }()
	c, version, err := newRawClient(ours)
	if err == nil {
		err = c.exchangeKeys(version)
	}
	return c, ended, err
}

// socketPair is a connection that has room for what is written, unlike [net.Pipe]: both sides of SSH write at once.
func socketPair() (a, b net.Conn, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		file := os.NewFile(uintptr(fd), "socket pair")
		end, errConn := net.FileConn(file)
		ends[i], err = end, errors.Join(err, errConn, file.Close())
	}
	return ends[0], ends[1], err
}
