package digest

import "bytes"

// params walks the auth-params of a challenge or of credentials, RFC 7235 2.1
// and RFC 3261 25.1: name = token or quoted-string, with white space wherever
// the grammar allows it and empty list elements passed over. Line folds count
// as white space.
type params struct {
	rest []byte
	err  error
}

// scheme takes the scheme name off value, which must be Digest.
func scheme(value []byte) (params, error) {
	value = skip(value)
	const name = "digest"
	if len(value) <= len(name) || !is(value[:len(name)], name) || !space(value[len(name)]) {
		return params{}, ErrScheme
	}
	return params{rest: value[len(name):]}, nil
}

// next gives the next parameter; false at the end or at a mistake, which then
// is in err. The value is a view of the text that was read, except one with
// quoted pairs, which has to be copied to take the backslashes off.
func (p *params) next() (name, value []byte, ok bool) {
	b := skip(p.rest)
	for len(b) > 0 && b[0] == ',' {
		b = skip(b[1:])
	}
	if len(b) == 0 {
		p.rest = nil
		return nil, nil, false
	}
	n := 0
	for n < len(b) && class[b[n]]&inName != 0 {
		n++
	}
	name, b = b[:n], skip(b[n:])
	if n == 0 || len(b) == 0 || b[0] != '=' {
		return p.fail()
	}
	b = skip(b[1:])
	if len(b) > 0 && b[0] == '"' {
		value, b, ok = quoted(b[1:])
		if !ok {
			return p.fail()
		}
	} else {
		n = 0
		for n < len(b) && class[b[n]]&inValue != 0 {
			n++
		}
		if n == 0 {
			return p.fail()
		}
		value, b = b[:n], b[n:]
	}
	b = skip(b)
	if len(b) > 0 && b[0] != ',' {
		return p.fail()
	}
	p.rest = b
	return name, value, true
}

func (p *params) fail() (name, value []byte, ok bool) {
	p.rest, p.err = nil, errSyntax
	return nil, nil, false
}

// quoted reads a quoted string whose opening quote is gone. Control characters
// are refused: a value goes into headers that are written later.
func quoted(b []byte) (value, rest []byte, ok bool) {
	pairs := false
	for i := 0; i < len(b); i++ {
		if class[b[i]]&inQuotes != 0 {
			continue
		}
		switch {
		case b[i] == '"' && pairs:
			return unescape(b[:i]), b[i+1:], true
		case b[i] == '"':
			return b[:i:i], b[i+1:], true
		case b[i] == '\\' && i+1 < len(b) && !control(b[i+1]):
			pairs = true
			i++
		default:
			return nil, nil, false
		}
	}
	return nil, nil, false
}

func unescape(b []byte) []byte {
	v := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] == '\\' {
			i++
		}
		v = append(v, b[i])
	}
	return v
}

func appendQuoted(dst []byte, v []byte) []byte {
	dst = append(dst, '"')
	for _, c := range v {
		if c == '"' || c == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, c)
	}
	return append(dst, '"')
}

// Where a byte may stand.
const (
	inName   = 1 << iota // in the name of a parameter
	inValue              // in a value without quotes
	inQuotes             // in a quoted string, as itself
)

var class = func() (t [256]uint8) {
	for i := range t {
		c := byte(i)
		if c > ' ' && c < 0x7f && c != '=' && c != ',' && c != '"' {
			t[c] |= inName
		}
		// Wider than token: agents leave the quotes of a uri or a nonce out.
		if c > ' ' && c != 0x7f && c != ',' && c != '"' && c != '\\' {
			t[c] |= inValue
		}
		if !control(c) && c != '"' && c != '\\' {
			t[c] |= inQuotes
		}
	}
	return t
}()

func control(c byte) bool { return c < ' ' && c != '\t' || c == 0x7f }

func space(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

func skip(b []byte) []byte {
	for len(b) > 0 && space(b[0]) {
		b = b[1:]
	}
	return b
}

// is compares with a name given in lower case.
func is(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if c != lower[i] && (c < 'A' || c > 'Z' || c+'a'-'A' != lower[i]) {
			return false
		}
	}
	return true
}

// offers tells whether the comma list has the element, given in lower case.
func offers(list []byte, lower string) bool {
	for len(list) > 0 {
		var e []byte
		e, list, _ = bytes.Cut(list, []byte{','})
		if is(bytes.TrimSpace(e), lower) {
			return true
		}
	}
	return false
}
