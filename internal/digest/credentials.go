package digest

import (
	"crypto/subtle"
	"encoding/hex"
)

// Credentials are the value of one Authorization or Proxy-Authorization line,
// as views of that line.
//
// They prove nothing yet. Whoever asks for them compares Realm and Algorithm
// with what was offered, checks the Nonce, calls Verify, and then lets Uses
// accept the nonce count. URI should name what the request is about: the
// response covers URI, not the Request-URI.
type Credentials struct {
	Username  []byte
	Realm     []byte
	Nonce     []byte
	URI       []byte
	Response  []byte // hexadecimal, as sent
	CNonce    []byte
	Opaque    []byte
	QOP       []byte // nil: the form without qop
	NC        uint32 // nonce count; only with qop
	Algorithm Algorithm

	nc []byte // NC as sent, which is what was hashed
}

// HasQOP tells the form of RFC 7616, whose nonce may serve more than once, from
// the older one.
func (c *Credentials) HasQOP() bool { return c.QOP != nil }

// seen marks the parameters that were met: one that stands twice could be read
// in one way here and in another way by whoever is next.
type seen uint16

func (s *seen) twice(bit seen) bool {
	was := *s&bit != 0
	*s |= bit
	return was
}

// ParseCredentials reads the value of an Authorization or Proxy-Authorization
// line. It allocates only where a value has quoted pairs. Errors: ErrScheme,
// ErrAlgorithm, or what is malformed.
func ParseCredentials(value []byte) (Credentials, error) {
	var (
		c         Credentials
		met       seen
		algorithm []byte
	)
	p, err := scheme(value)
	if err != nil {
		return c, err
	}
	for {
		name, v, ok := p.next()
		if !ok {
			break
		}
		var (
			field *[]byte
			bit   seen
		)
		switch {
		case is(name, "username"):
			field, bit = &c.Username, 1<<0
		case is(name, "realm"):
			field, bit = &c.Realm, 1<<1
		case is(name, "nonce"):
			field, bit = &c.Nonce, 1<<2
		case is(name, "uri"):
			field, bit = &c.URI, 1<<3
		case is(name, "response"):
			field, bit = &c.Response, 1<<4
		case is(name, "cnonce"):
			field, bit = &c.CNonce, 1<<5
		case is(name, "opaque"):
			field, bit = &c.Opaque, 1<<6
		case is(name, "qop"):
			field, bit = &c.QOP, 1<<7
		case is(name, "nc"):
			field, bit = &c.nc, 1<<8
		case is(name, "algorithm"):
			field, bit = &algorithm, 1<<9
		default:
			continue
		}
		if met.twice(bit) {
			return Credentials{}, errDuplicate
		}
		*field = v
	}
	if p.err != nil {
		return Credentials{}, p.err
	}
	const required seen = 1<<5 - 1
	if met&required != required {
		return Credentials{}, errMissing
	}
	if algorithm != nil {
		if c.Algorithm, err = parseAlgorithm(algorithm); err != nil {
			return Credentials{}, err
		}
	}
	if c.nc != nil {
		if c.NC, err = parseCount(c.nc); err != nil {
			return Credentials{}, err
		}
	}
	// RFC 7616 3.4: cnonce and nc must be there with qop.
	if c.QOP != nil && (c.CNonce == nil || c.nc == nil) {
		return Credentials{}, errQOP
	}
	return c, nil
}

func parseCount(b []byte) (uint32, error) {
	var n [4]byte
	if len(b) != 8 {
		return 0, errCount
	}
	if _, err := hex.Decode(n[:], b); err != nil {
		return 0, errCount
	}
	return uint32(n[0])<<24 | uint32(n[1])<<16 | uint32(n[2])<<8 | uint32(n[3]), nil
}

// Verify tells whether whoever made c for this method knew the password of
// which h are the hashes. It takes the same time wherever the response differs.
func (c *Credentials) Verify(h *Hashes, method string) bool {
	// auth-int was not offered, and without the body it cannot be checked.
	if c.QOP != nil && !is(c.QOP, "auth") {
		return false
	}
	var wb, gb [64]byte
	want, ok := appendResponse(wb[:0], h, c.Algorithm, method, c.URI, c.Nonce, c.nc, c.CNonce, c.QOP)
	if !ok || len(c.Response) != len(want) {
		return false
	}
	// RFC 7616 3.4.1 wants lower case; upper case is taken too.
	got := gb[:len(want)]
	for i, x := range c.Response {
		if 'A' <= x && x <= 'F' {
			x += 'a' - 'A'
		}
		got[i] = x
	}
	return subtle.ConstantTimeCompare(got, want) == 1
}
