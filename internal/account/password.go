package account

import (
	"crypto/rand"
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"
)

// passwordAlphabet leaves out what is mistaken for something else when it is read aloud or from a small display
// (0 o, 1 i l, 2 z, 5 s, 8 b, u v, 9 g q) and everything for which the keypad of a codec needs a shift.
const passwordAlphabet = "acdefhjkmnprtuwxy3467"

// passwordLen makes 17 * log2(21) = 74.6 bits.
const passwordLen = 17

// maxPassword keeps what is hashed short.
const maxPassword = 128

// NewPassword makes a random SIP password.
func NewPassword() string {
	b := make([]byte, 0, passwordLen)
	// 252 is the largest multiple of 21 in a byte: bytes above it would favour the first letters.
	const fair = 256 - 256%len(passwordAlphabet)
	var r [32]byte
	for len(b) < passwordLen {
		rand.Read(r[:])
		for _, x := range r {
			if int(x) < fair && len(b) < passwordLen {
				b = append(b, passwordAlphabet[int(x)%len(passwordAlphabet)])
			}
		}
	}
	return string(b)
}

// CheckPassword tells whether a password that somebody chose can be a SIP password. How strong it is, is left to them.
func CheckPassword(s string) error {
	switch {
	case s == "":
		return errors.New("the password is empty")
	case len(s) > maxPassword:
		return fmt.Errorf("the password is longer than %d bytes", maxPassword)
	case !utf8.ValidString(s):
		return errors.New("the password is not UTF-8")
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			return errors.New("the password has a control character")
		}
	}
	return nil
}
