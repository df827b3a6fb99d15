package sip

import (
	"bytes"
	"iter"
)

// Params is the text of a parameter list as written: ";a=b;c". Names are case-insensitive.
type Params []byte

// All walks the parameters in order; a value in quotes comes without them, one that is absent is nil.
func (p Params) All() iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		for rest := []byte(p); len(rest) > 0; {
			var one []byte
			one, rest = cut(rest, ';')
			name, value := splitParam(one)
			if len(name) > 0 && !yield(name, value) {
				return
			}
		}
	}
}

// Get is the value of the first parameter of that name.
func (p Params) Get(name string) ([]byte, bool) {
	for rest := []byte(p); len(rest) > 0; {
		var one []byte
		one, rest = cut(rest, ';')
		if n, value := splitParam(one); equalFold(n, name) {
			return value, true
		}
	}
	return nil, false
}

func splitParam(one []byte) (name, value []byte) {
	i := bytes.IndexByte(one, '=')
	if i < 0 {
		return trim(one), nil
	}
	value = trim(one[i+1:])
	if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
		value = value[1 : len(value)-1]
	}
	return trim(one[:i]), value
}

// check tells whether every parameter is a token with an optional value that is neither empty nor torn, and hands each
// to see.
func (p Params) check(see func(name, value []byte)) bool {
	for rest := []byte(p); len(rest) > 0; {
		var one []byte
		one, rest = cut(rest, ';')
		name, value := splitParam(one)
		if len(name) == 0 {
			if len(trim(one)) > 0 {
				return false
			}
			continue // ";;" is wrong by the grammar, harmless and seen in the field
		}
		if !isToken(name) || (len(value) > 0 && value[0] == '"') { // a quote that is still there does not end
			return false
		}
		see(name, value)
	}
	return true
}

// cut splits at the first sep that is neither in quotes nor in angle brackets.
func cut(b []byte, sep byte) (before, after []byte) {
	angle := false
	for i := 0; i < len(b); i++ {
		c := b[i]
		if c > '>' { // letters, the most of it: none of the characters below
			continue
		}
		switch {
		case c == sep && !angle:
			return b[:i], b[i+1:]
		case c == '<':
			angle = true
		case c == '>':
			angle = false
		case c == '"' && !angle:
			n := quotedEnd(b[i:])
			if n < 0 {
				return b, nil
			}
			i += n - 1
		}
	}
	return b, nil
}

// quotedEnd is the length of the quoted string that b begins with, -1 if it does not end.
func quotedEnd(b []byte) int {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
}
