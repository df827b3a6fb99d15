package digest

import (
	"bytes"
	"fmt"
)

// AppendChallenge appends the value of a WWW-Authenticate or Proxy-Authenticate
// line. Stale says that the password was right but the nonce too old: the agent
// then answers by itself and does not ask its user.
func AppendChallenge(dst []byte, realm string, nonce []byte, alg Algorithm, stale bool) []byte {
	dst = append(dst, "Digest realm="...)
	dst = appendQuoted(dst, []byte(realm))
	dst = append(dst, ", nonce=\""...)
	dst = append(dst, nonce...)
	dst = append(dst, "\", algorithm="...)
	dst = append(dst, alg.String()...)
	dst = append(dst, ", qop=\"auth\""...)
	if stale {
		dst = append(dst, ", stale=true"...)
	}
	return dst
}

// Challenge is what a server asks of a user agent.
type Challenge struct {
	Realm     string
	Nonce     string
	Opaque    string
	Algorithm Algorithm
	QOP       bool // qop=auth is offered; false: the form without qop
	Stale     bool

	opaque bool // Opaque was there, and must come back even if empty
}

// ParseChallenge reads the value of a WWW-Authenticate or Proxy-Authenticate
// line. An error also means one that cannot be answered here: another scheme or
// algorithm, or only auth-int.
func ParseChallenge(value []byte) (Challenge, error) {
	var (
		c                                    Challenge
		met                                  seen
		realm, nonce, opaque, algorithm, qop []byte
		stale                                []byte
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
		case is(name, "realm"):
			field, bit = &realm, 1<<0
		case is(name, "nonce"):
			field, bit = &nonce, 1<<1
		case is(name, "opaque"):
			field, bit = &opaque, 1<<2
		case is(name, "algorithm"):
			field, bit = &algorithm, 1<<3
		case is(name, "qop"):
			field, bit = &qop, 1<<4
		case is(name, "stale"):
			field, bit = &stale, 1<<5
		default:
			continue
		}
		if met.twice(bit) {
			return Challenge{}, errDuplicate
		}
		*field = v
	}
	if p.err != nil {
		return Challenge{}, p.err
	}
	if realm == nil || nonce == nil {
		return Challenge{}, errMissing
	}
	if algorithm != nil {
		if c.Algorithm, err = parseAlgorithm(algorithm); err != nil {
			return Challenge{}, err
		}
	}
	if c.QOP = offers(qop, "auth"); qop != nil && !c.QOP {
		return Challenge{}, errNoAuth
	}
	c.Realm, c.Nonce, c.Opaque = string(realm), string(nonce), string(opaque)
	c.opaque = opaque != nil
	c.Stale = is(stale, "true")
	return c, nil
}

// Choose reads the challenges of one response and gives the strongest that can
// be answered: the better algorithm, then with qop rather than without, then the
// first. If none can, the error is that of the first.
func Choose(values ...[]byte) (Challenge, error) {
	var (
		best  Challenge
		found bool
		first error
	)
	for _, v := range values {
		c, err := ParseChallenge(v)
		switch {
		case err != nil:
			if first == nil {
				first = err
			}
		case !found || c.stronger(best):
			best, found = c, true
		}
	}
	if found {
		return best, nil
	}
	if first == nil {
		first = errMissing
	}
	return Challenge{}, first
}

func (c Challenge) stronger(than Challenge) bool {
	if c.Algorithm != than.Algorithm {
		return c.Algorithm > than.Algorithm
	}
	return c.QOP && !than.QOP
}

// Answer makes the value of the Authorization or Proxy-Authorization line. The
// uri is the Request-URI as it is sent; nc counts from 1 the answers with this
// nonce. Without qop cnonce and nc are not used, and a nonce serves once.
func (c Challenge) Answer(user, password, method, uri, cnonce string, nc uint32) string {
	h := Hash(user, c.Realm, password)
	var count, qop []byte
	if c.QOP {
		count, qop = fmt.Appendf(nil, "%08x", nc), []byte("auth")
	}
	response, _ := appendResponse(nil, &h, c.Algorithm, method, []byte(uri), []byte(c.Nonce), count, []byte(cnonce), qop)

	var b bytes.Buffer
	put := func(name, v string) {
		b.WriteString(", ")
		b.WriteString(name)
		b.WriteByte('=')
		b.Write(appendQuoted(nil, []byte(v)))
	}
	b.WriteString("Digest username=")
	b.Write(appendQuoted(nil, []byte(user)))
	put("realm", c.Realm)
	put("nonce", c.Nonce)
	put("uri", uri)
	put("response", string(response))
	b.WriteString(", algorithm=" + c.Algorithm.String())
	if c.QOP {
		put("cnonce", cnonce)
		b.WriteString(", qop=auth, nc=")
		b.Write(count)
	}
	if c.opaque {
		put("opaque", c.Opaque)
	}
	return b.String()
}
