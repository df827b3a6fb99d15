package account

import "fmt"

// Number is what is dialled: the user part of the address and the digest user name.
type Number string

const (
	// MaxNumber is the longest number: twice what E.164 needs.
	MaxNumber = 32
	// PrefixLen is the length of the prefix that the numbers of a group share.
	PrefixLen = 4
	// shortLen is the length of a number in abbreviated dialling.
	shortLen = 4
)

// ParseNumber reads a number: digits, of any length up to MaxNumber.
func ParseNumber(s string) (Number, error) {
	switch {
	case s == "":
		return "", fmt.Errorf("the number is empty")
	case len(s) > MaxNumber:
		return "", fmt.Errorf("the number %.40q is longer than %d digits", s, MaxNumber)
	case !digits(s):
		return "", fmt.Errorf("the number %q has something else than the digits 0 to 9", s)
	}
	return Number(s), nil
}

// Prefix is the prefix of the group to which a premium number belongs by its digits; false for one that is too short
// to have something after the prefix.
func (n Number) Prefix() (string, bool) {
	if len(n) <= PrefixLen {
		return "", false
	}
	return string(n[:PrefixLen]), true
}

func digits[T string | []byte](s T) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
