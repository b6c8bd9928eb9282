package target

import (
	"crypto/rsa"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"syscall"

	"golang.org/x/crypto/ssh"
)

// acceptsKind tells why a key of this type or size may not be used by this user.
func (p *policy) acceptsKind(key ssh.PublicKey) error {
	algorithms := p.keyAlgorithms()
	if key.Type() != ssh.KeyAlgoRSA {
		if !slices.Contains(algorithms, key.Type()) {
			return fmt.Errorf("key type %s is not in PubkeyAcceptedAlgorithms", key.Type())
		}
		return nil
	}
	if !slices.Contains(algorithms, ssh.KeyAlgoRSASHA256) && !slices.Contains(algorithms, ssh.KeyAlgoRSASHA512) {
		return errors.New("no algorithm for RSA keys is in PubkeyAcceptedAlgorithms")
	}
	public, ok := key.(ssh.CryptoPublicKey)
	if !ok {
		return errors.New("an RSA key without a size")
	}
	least := p.number("requiredrsasize", 1024)
	if n := public.CryptoPublicKey().(*rsa.PublicKey).N.BitLen(); n < least {
		return fmt.Errorf("RSA key of %d bits, RequiredRSASize is %d", n, least)
	}
	return nil
}

func ownerOf(info fs.FileInfo) (uid int, ok bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(stat.Uid), true
}
