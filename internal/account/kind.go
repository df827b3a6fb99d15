package account

import "fmt"

// Kind says what an account is for, and with that which numbers and services it has.
type Kind uint8

// The kinds are kept in databases by their names, not by these values.
const (
	Premium   Kind = iota // of a subscriber, for a paid period
	Mobile                // premium, and may be used from a phone app
	Hunt                  // premium, and a member of a hunt series
	Factory               // belongs to one copy of a product, for ever
	Test                  // the operator's: test codecs and lines
	Temporary             // a guest's; ends by itself
)

var kindNames = [...]string{
	Premium: "premium", Mobile: "mobile", Hunt: "hunt", Factory: "factory", Test: "test", Temporary: "temporary",
}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// ParseKind reads the name of a kind.
func ParseKind(s string) (Kind, error) {
	for k, name := range kindNames {
		if s == name {
			return Kind(k), nil
		}
	}
	return 0, fmt.Errorf("there is no kind %q: use factory, premium, mobile, hunt, test or temporary", s)
}

// Grouped tells the premium kinds, which belong to a group and have its services: abbreviated dialling, hunt series,
// journal.
func (k Kind) Grouped() bool { return k == Premium || k == Mobile || k == Hunt }
