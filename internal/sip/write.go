package sip

import "strconv"

// AppendResponse writes the head of an answer to req (RFC 3261 8.2.6): status line, Via, From, To, Call-ID, CSeq. A To
// without tag gets toTag unless that is empty. AppendBody ends the message.
func AppendResponse(dst []byte, req *Message, status int, reason, toTag string) []byte {
	if reason == "" {
		reason = ReasonPhrase(status)
	}
	dst = append(dst, "SIP/2.0 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, ' ')
	dst = append(dst, reason...)
	dst = append(dst, "\r\n"...)
	dst = req.AppendVias(dst)
	dst = req.appendCopy(dst, HeaderFrom)
	dst = req.appendCopy(dst, HeaderTo)
	if toTag != "" && req.To.Tag() == nil {
		dst = append(dst[:len(dst)-2], ";tag="...)
		dst = append(dst, toTag...)
		dst = append(dst, "\r\n"...)
	}
	dst = req.appendCopy(dst, HeaderCallID)
	return req.appendCopy(dst, HeaderCSeq)
}

// appendCopy writes the first line of a header as it is, under its full name.
func (m *Message) appendCopy(dst []byte, id HeaderID) []byte {
	dst = append(dst, headerNames[id]...)
	dst = append(dst, ": "...)
	dst = append(dst, m.Header(id)...)
	return append(dst, "\r\n"...)
}

// AppendRequestLine begins a request.
func AppendRequestLine[T []byte | string](dst []byte, m Method, uri T) []byte {
	dst = append(dst, m...)
	dst = append(dst, ' ')
	dst = append(dst, uri...)
	return append(dst, " SIP/2.0\r\n"...)
}

// AppendHeader writes one header line.
func AppendHeader[T []byte | string](dst []byte, name string, value T) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, "\r\n"...)
}

// AppendTo writes header line i as it came.
func (h Header) AppendTo(dst []byte) []byte {
	dst = append(dst, h.Name...)
	dst = append(dst, ": "...)
	dst = append(dst, h.Value...)
	return append(dst, "\r\n"...)
}

// AppendBody ends a message: Content-Type if there is a body, Content-Length, the empty line, the body.
func AppendBody(dst []byte, contentType string, body []byte) []byte {
	if len(body) > 0 && contentType != "" {
		dst = AppendHeader(dst, "Content-Type", contentType)
	}
	dst = append(dst, "Content-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(body)), 10)
	dst = append(dst, "\r\n\r\n"...)
	return append(dst, body...)
}

// AppendRefusal writes the whole answer that an error stands for.
func AppendRefusal(dst []byte, req *Message, e *Error, toTag string) []byte {
	dst = AppendResponse(dst, req, e.Status, e.Reason, toTag)
	dst = append(dst, e.Headers...)
	return AppendBody(dst, "", nil)
}
