// Package account knows who may use the service: numbers, what they may do, and how they prove who they are.
//
// The signalling reads a Directory in memory and never waits for a database; whoever keeps the accounts fills the
// Directory and follows what changes.
package account

import (
	"errors"
	"time"

	"liaison/internal/digest"
	"liaison/internal/sip"
)

// Account is a number and what is known of its password: what an agent registers with.
//
// An Account that a Directory has given out is never changed; a change is a new one in its place.
type Account struct {
	Number     Number
	Kind       Kind
	Locked     bool
	Off        bool  // a test number that is switched off
	Subscriber int64 // 0: nobody's, as factory and test numbers are
	Hashes     digest.Hashes
	ValidFrom  time.Time // zero: since ever
	ValidUntil time.Time // the first moment at which it is over; zero: for ever
}

// Subscriber is the organisation that owns accounts.
type Subscriber struct {
	ID      int64
	Name    string
	Email   string // of the technical contact
	Prefix  string // of the group: 4 digits
	Created time.Time
}

// Why an account that proved its password may not be used all the same. They are causes of the 403 of Usable.
var (
	ErrLocked      = errors.New("account is locked")
	ErrOff         = errors.New("number is switched off")
	ErrNotYetValid = errors.New("account is not yet valid")
	ErrExpired     = errors.New("account has expired")
)

// Usable gives nil, or the 403 that says why the account can neither register nor call. It is asked after the
// password was right: a stranger learns nothing of the state of an account.
func (a *Account) Usable(now time.Time) *sip.Error {
	switch {
	case a.Locked:
		return &sip.Error{Status: 403, Reason: "Account Locked", Err: ErrLocked}
	case a.Off:
		return &sip.Error{Status: 403, Reason: "Number Switched Off", Err: ErrOff}
	case !a.ValidFrom.IsZero() && now.Before(a.ValidFrom):
		return &sip.Error{Status: 403, Reason: "Account Not Yet Valid", Err: ErrNotYetValid}
	case !a.ValidUntil.IsZero() && !now.Before(a.ValidUntil):
		return &sip.Error{Status: 403, Reason: "Account Expired", Err: ErrExpired}
	}
	return nil
}
