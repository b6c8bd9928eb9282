package target

import "golang.org/x/sys/unix"

// Terminal modes by their code (RFC 4254 section 8; IUTF8: RFC 8160): characters, and flags of the four words of termios(3).
var (
	characterModes = map[byte]int{
		1: unix.VINTR, 2: unix.VQUIT, 3: unix.VERASE, 4: unix.VKILL, 5: unix.VEOF, 6: unix.VEOL, 7: unix.VEOL2,
		8: unix.VSTART, 9: unix.VSTOP, 10: unix.VSUSP, 12: unix.VREPRINT, 13: unix.VWERASE, 14: unix.VLNEXT,
		16: unix.VSWTC, 18: unix.VDISCARD,
	}
	inputModes = map[byte]uint32{
		30: unix.IGNPAR, 31: unix.PARMRK, 32: unix.INPCK, 33: unix.ISTRIP, 34: unix.INLCR, 35: unix.IGNCR,
		36: unix.ICRNL, 37: unix.IUCLC, 38: unix.IXON, 39: unix.IXANY, 40: unix.IXOFF, 41: unix.IMAXBEL, 42: unix.IUTF8,
	}
	localModes = map[byte]uint32{
		50: unix.ISIG, 51: unix.ICANON, 52: unix.XCASE, 53: unix.ECHO, 54: unix.ECHOE, 55: unix.ECHOK, 56: unix.ECHONL,
		57: unix.NOFLSH, 58: unix.TOSTOP, 59: unix.IEXTEN, 60: unix.ECHOCTL, 61: unix.ECHOKE, 62: unix.PENDIN,
	}
	outputModes = map[byte]uint32{
		70: unix.OPOST, 71: unix.OLCUC, 72: unix.ONLCR, 73: unix.OCRNL, 74: unix.ONOCR, 75: unix.ONLRET,
	}
	// CS7 (90) is what remains of the size without CS8.
	controlModes = map[byte]uint32{91: unix.CS8, 92: unix.PARENB, 93: unix.PARODD}
)

// noCharacter stands for a character that is off.
const noCharacter = 255

// applyTo changes the attributes of a terminal. What Linux has no name for is passed over, and so are the speeds: a
// pseudo-terminal has none.
func (m mode) applyTo(t *unix.Termios) {
	if i, ok := characterModes[m.code]; ok {
		t.Cc[i] = byte(m.value)
		if m.value == noCharacter {
			t.Cc[i] = 0
		}
		return
	}
	setFlag(&t.Iflag, inputModes[m.code], m.value)
	setFlag(&t.Lflag, localModes[m.code], m.value)
	setFlag(&t.Oflag, outputModes[m.code], m.value)
	setFlag(&t.Cflag, controlModes[m.code], m.value)
}

func setFlag(word *uint32, flag, value uint32) {
	if value != 0 {
		*word |= flag
	} else {
		*word &^= flag
	}
}
