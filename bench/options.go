package main

// options is OPTIONS to the server itself, and its 200.
type options struct{}

func (options) begin(l *load, s *slot) error {
	a := l.nextAgent()
	s.caller = a
	b := l.sock.next()
	b = append(b, "OPTIONS sip:"...)
	b = append(b, l.server...)
	b = append(b, " SIP/2.0\r\n"...)
	b = l.appendVia(b, a, s.serial, 'o')
	b = append(b, "From: "...)
	b = l.appendAOR(b, a)
	b = append(b, ";tag="...)
	b = appendBranch(b, s.serial, 'f')
	b = append(b, "\r\nTo: <sip:"...)
	b = append(b, l.server...)
	b = append(b, ">\r\nCall-ID: "...)
	b = l.appendCallID(b, 'o', s.index, s.serial)
	b = append(b, "\r\n"...)
	b = appendCSeq(b, 1, "OPTIONS")
	b = a.appendContact(b)
	b = append(b, userAgent...)
	return l.send(s, appendBody(b, ""))
}

func (options) receive(l *load, s *slot, m *message) error {
	if m.status != 200 {
		return wrong("OPTIONS was answered with %d", m.status)
	}
	return l.done(s)
}
