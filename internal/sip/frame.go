package sip

import "bytes"

// Frame finds the first message in a stream: its length, 0 while it is not whole. Leading line breaks (keep-alives) are
// the caller's. An error means that the stream cannot be followed any more (RFC 3261 18.3).
func Frame(b []byte) (n int, err error) {
	head := headEnd(b)
	if head < 0 {
		if len(b) >= MaxMessage {
			return 0, &Error{Status: 513}
		}
		return 0, nil
	}
	length, found := uint64(0), false
	for rest := b[:head]; len(rest) > 0; {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\n"))
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || headerID(bytes.TrimRight(name, " \t")) != HeaderContentLength {
			continue
		}
		for len(rest) > 0 && (rest[0] == ' ' || rest[0] == '\t') { // folded
			line, rest, _ = bytes.Cut(rest, []byte("\n"))
			value = append(append(append([]byte(nil), trim(value)...), ' '), line...)
		}
		v, ok := number(trim(value), MaxMessage)
		if !ok {
			return 0, bad("Content-Length")
		}
		if found { // two lengths are two opinions on where the next message begins
			return 0, bad("two Content-Length headers")
		}
		length, found = v, true
	}
	total := head + int(length)
	if total > MaxMessage {
		return 0, &Error{Status: 513}
	}
	if len(b) < total {
		return 0, nil
	}
	return total, nil
}

// headEnd is where the body begins, -1 while the empty line has not come.
func headEnd(b []byte) int {
	for pos := 0; ; {
		i := bytes.IndexByte(b[pos:], '\n')
		if i < 0 {
			return -1
		}
		pos += i + 1
		switch {
		case pos < len(b) && b[pos] == '\n':
			return pos + 1
		case pos+1 < len(b) && b[pos] == '\r' && b[pos+1] == '\n':
			return pos + 2
		}
	}
}
