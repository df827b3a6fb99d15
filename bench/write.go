package main

import "strconv"

// What a broadcast codec says of itself, in the lengths that codecs use.
const (
	userAgent = "User-Agent: AudioCodec/4.2.1 (bench)\r\n"
	allow     = "Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, INFO, NOTIFY, REFER\r\n"

	offer = "v=0\r\n" +
		"o=- 3876001 3876001 IN IP4 192.168.1.20\r\n" +
		"s=programme\r\n" +
		"c=IN IP4 192.168.1.20\r\n" +
		"t=0 0\r\n" +
		"m=audio 5004 RTP/AVP 96 97 9 8 0 14\r\n" +
		"a=rtpmap:96 opus/48000/2\r\n" +
		"a=fmtp:96 maxaveragebitrate=128000;stereo=1\r\n" +
		"a=rtpmap:97 L16/48000/2\r\n" +
		"a=rtpmap:9 G722/8000\r\n" +
		"a=rtpmap:8 PCMA/8000\r\n" +
		"a=rtpmap:0 PCMU/8000\r\n" +
		"a=rtpmap:14 MPA/90000\r\n" +
		"a=ptime:20\r\n" +
		"a=sendrecv\r\n"
	accepted = "v=0\r\n" +
		"o=- 5120034 5120034 IN IP4 192.168.2.31\r\n" +
		"s=programme\r\n" +
		"c=IN IP4 192.168.2.31\r\n" +
		"t=0 0\r\n" +
		"m=audio 5004 RTP/AVP 96\r\n" +
		"a=rtpmap:96 opus/48000/2\r\n" +
		"a=fmtp:96 maxaveragebitrate=128000;stereo=1\r\n" +
		"a=ptime:20\r\n" +
		"a=sendrecv\r\n"
)

// appendVia writes the sender's own Via: what it believes to be its address.
// step tells the transactions of one operation apart.
func (l *load) appendVia(dst []byte, a *agent, serial uint64, step byte) []byte {
	dst = append(dst, "Via: SIP/2.0/UDP "...)
	dst = append(dst, a.host()...)
	dst = append(dst, ";rport;branch=z9hG4bK"...)
	dst = appendBranch(dst, serial, step)
	return append(dst, "\r\nMax-Forwards: 70\r\n"...)
}

func appendBranch(dst []byte, serial uint64, step byte) []byte {
	dst = append(dst, "bench"...)
	dst = strconv.AppendUint(dst, serial, 16)
	return append(dst, 'x', step)
}

// host is the address in the agent's Contact.
func (a *agent) host() string { return a.contact[len("sip:")+len(a.number)+len("@"):] }

// appendAOR writes an agent's public address, <sip:number@server>.
func (l *load) appendAOR(dst []byte, a *agent) []byte {
	dst = append(dst, "<sip:"...)
	dst = append(dst, a.number...)
	dst = append(dst, '@')
	dst = append(dst, l.server...)
	return append(dst, '>')
}

func appendLine(dst []byte, name string, value []byte) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, "\r\n"...)
}

func appendCSeq(dst []byte, n uint32, method string) []byte {
	dst = append(dst, "CSeq: "...)
	dst = strconv.AppendUint(dst, uint64(n), 10)
	dst = append(dst, ' ')
	dst = append(dst, method...)
	return append(dst, "\r\n"...)
}

func (a *agent) appendContact(dst []byte) []byte {
	dst = append(dst, "Contact: <"...)
	dst = append(dst, a.contact...)
	return append(dst, ">\r\n"...)
}

func appendBody(dst []byte, sdp string) []byte {
	if sdp != "" {
		dst = append(dst, "Content-Type: application/sdp\r\n"...)
	}
	dst = append(dst, "Content-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(sdp)), 10)
	dst = append(dst, "\r\n\r\n"...)
	return append(dst, sdp...)
}

// appendResponse writes the head of an answer to m. RFC 3261 8.2.6.2: Via and
// Record-Route, From, To, Call-ID and CSeq are the request's.
func appendResponse(dst []byte, m *message, status, tag string) []byte {
	dst = append(dst, "SIP/2.0 "...)
	dst = append(dst, status...)
	dst = append(dst, "\r\n"...)
	for _, v := range m.vias {
		dst = appendLine(dst, "Via", v)
	}
	for _, v := range m.recordRoutes {
		dst = appendLine(dst, "Record-Route", v)
	}
	dst = appendLine(dst, "From", m.from)
	dst = append(dst, "To: "...)
	dst = append(dst, m.to...)
	if tag != "" {
		dst = append(dst, ";tag="...)
		dst = append(dst, tag...)
	}
	dst = append(dst, "\r\n"...)
	dst = appendLine(dst, "Call-ID", m.callID)
	return appendCSeq(dst, m.cseq, string(m.method))
}
