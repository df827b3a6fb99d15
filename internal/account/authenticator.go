package account

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"liaison/internal/digest"
	"liaison/internal/sip"
)

// Why a request did not prove whose it is. They are causes of the 401 or 407 of Authenticate.
var (
	ErrNoCredentials = errors.New("no credentials for this realm")
	ErrMalformed     = errors.New("credentials are malformed")
	ErrAlgorithm     = errors.New("credentials of an algorithm that was not offered")
	ErrForgedNonce   = errors.New("nonce was not made here")
	ErrUnknown       = errors.New("no such number")
	ErrPassword      = errors.New("wrong password")
	ErrStaleNonce    = errors.New("nonce is too old")
	ErrReplay        = errors.New("nonce count was used before")
)

// stripes share the memory of used nonce counts between the accounts. A power of two.
const stripes = 256

// Authenticator finds out of which account a request is, by digest authentication (RFC 3261 22, RFC 7616, RFC 8760).
// Safe for concurrent use.
type Authenticator struct {
	realm      string
	algorithms []digest.Algorithm
	nonces     *digest.Nonces
	directory  *Directory
	nobody     digest.Hashes // stands in for the hashes of an unknown number
	stripes    [stripes]stripe
}

// stripe is held for the time of one look into a small memory.
type stripe struct {
	mu   sync.Mutex
	uses *digest.Uses
	_    [48]byte // neighbours are not slowed down by each other's lock
}

// NewAuthenticator challenges with these algorithms in this order, one line each, and takes no others: who listens
// must not be able to talk an agent down to a weaker one.
func NewAuthenticator(realm string, algorithms []digest.Algorithm, nonces *digest.Nonces, directory *Directory) *Authenticator {
	a := &Authenticator{
		realm:      realm,
		algorithms: slices.Clone(algorithms),
		nonces:     nonces,
		directory:  directory,
		nobody:     digest.Hash("", realm, rand.Text()),
	}
	for i := range a.stripes {
		a.stripes[i].uses = nonces.NewUses(0)
	}
	return a
}

// Authenticate gives the account whose password the sender of the request knows. REGISTER is asked for Authorization
// with 401, everything else for Proxy-Authorization with 407 (RFC 3261 22.2, 22.3); the error carries the challenges.
// An account that may not be used is a 403 with its reason, and only for who knows the password.
//
// Whether From, To or the Request-URI name this account is the caller's to compare. The uri of the credentials is not
// compared with the Request-URI: outbound proxies and SBCs rewrite that one, and a nonce count serves only once anyway.
func (a *Authenticator) Authenticate(m *sip.Message, now time.Time) (*Account, *sip.Error) {
	header := sip.HeaderProxyAuthorization
	if m.Method == sip.REGISTER {
		header = sip.HeaderAuthorization
	}
	cause := ErrNoCredentials
	// RFC 3261 22.3: there may be credentials for other proxies; ours name our realm. RFC 8760 2.4: one line for each
	// algorithm, of which the first that is good will do.
	for i := range m.Len() {
		h := m.At(i)
		if h.ID != header {
			continue
		}
		c, err := digest.ParseCredentials(h.Value)
		switch {
		case errors.Is(err, digest.ErrScheme):
			continue
		case errors.Is(err, digest.ErrAlgorithm):
			cause = ErrAlgorithm
			continue
		case err != nil:
			cause = fmt.Errorf("%w: %w", ErrMalformed, err)
			continue
		case string(c.Realm) != a.realm:
			continue
		}
		acc, err := a.check(&c, string(m.Method), now)
		if err == nil {
			if refusal := acc.Usable(now); refusal != nil {
				return nil, refusal
			}
			return acc, nil
		}
		cause = err
		if stale(err) {
			break
		}
	}
	return nil, a.challenge(m, cause, now)
}

// check judges one set of credentials for our realm.
func (a *Authenticator) check(c *digest.Credentials, method string, now time.Time) (*Account, error) {
	if !slices.Contains(a.algorithms, c.Algorithm) {
		return nil, ErrAlgorithm
	}
	verdict := a.nonces.Check(c.Nonce, now)
	if verdict == digest.Forged {
		return nil, ErrForgedNonce
	}
	// Some agents write number@domain as their user name.
	user := c.Username
	if at := bytes.IndexByte(user, '@'); at >= 0 {
		user = user[:at]
	}
	acc, known := a.directory.Account(user)
	hashes := &a.nobody
	if known {
		hashes = &acc.Hashes
	}
	// An unknown number is hashed for as long as a known one and gets the answer of a wrong password.
	verified := c.Verify(hashes, method)
	switch {
	case !known:
		return nil, ErrUnknown
	case !verified:
		return nil, ErrPassword
	// Only now: stale=true promises that the password was right (RFC 7616 3.3).
	case verdict == digest.Stale:
		return nil, ErrStaleNonce
	}
	s := &a.stripes[maphash.Bytes(a.directory.seed, user)%stripes]
	s.mu.Lock()
	first := s.uses.Accept(c.Nonce, c.NC, c.HasQOP(), now)
	s.mu.Unlock()
	if !first {
		return nil, ErrReplay
	}
	return acc, nil
}

// stale tells the causes that a new nonce cures without asking the user for a password.
func stale(err error) bool { return err == ErrStaleNonce || err == ErrReplay }

// challenge is the 401 or 407 with one line for each algorithm. RFC 8760 2.3: the preferred one first; many agents read
// no other.
func (a *Authenticator) challenge(m *sip.Message, cause error, now time.Time) *sip.Error {
	e := &sip.Error{Status: 407, Err: cause}
	name := "Proxy-Authenticate: "
	if m.Method == sip.REGISTER {
		e.Status, name = 401, "WWW-Authenticate: "
	}
	var nb [digest.NonceLen]byte
	nonce := a.nonces.Append(nb[:0], now)
	b := make([]byte, 0, len(a.algorithms)*(len(name)+len(a.realm)+digest.NonceLen+80))
	for _, alg := range a.algorithms {
		b = append(b, name...)
		b = digest.AppendChallenge(b, a.realm, nonce, alg, stale(cause))
		b = append(b, '\r', '\n')
	}
	e.Headers = b
	return e
}
