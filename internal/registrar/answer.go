package registrar

import (
	"bytes"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"liaison/internal/sip"
	"liaison/internal/sip/transport"
)

// appendAnswer writes the 200 (RFC 3261 10.3 step 8): every binding with what is left of it, and says where the head that
// a 503 shares with it begins and ends.
func (r *Registrar) appendAnswer(dst []byte, m *sip.Message, q *request, bindings []slot, now time.Time) (answer []byte, vias, head int) {
	var tag [16]byte
	vias = len(dst) + len("SIP/2.0 200 OK\r\n")
	dst = sip.AppendResponse(dst, m, 200, "OK", string(r.appendTag(tag[:0], m)))
	head = len(dst)
	ms := now.UnixMilli()
	for i := range bindings {
		b := &bindings[i]
		dst = append(dst, "Contact: <"...)
		dst = append(dst, b.contact()...)
		dst = append(dst, ">;expires="...)
		dst = strconv.AppendInt(dst, (b.expires-ms+999)/1000, 10)
		if b.q != 1000 {
			dst = append(dst, ";q=0."...)
			dst = append(dst, byte('0'+b.q/100), byte('0'+b.q/10%10), byte('0'+b.q%10))
		}
		if b.instanceLen > 0 {
			dst = append(dst, `;+sip.instance="`...)
			dst = append(dst, b.instance()...)
			dst = append(dst, '"')
		}
		if b.regID != 0 {
			dst = append(dst, ";reg-id="...)
			dst = strconv.AppendUint(dst, uint64(b.regID), 10)
		}
		dst = append(dst, "\r\n"...)
	}
	if q.hops > 0 { // RFC 3327 5.3
		dst = sip.AppendHeader(dst, "Path", q.path)
	}
	if q.outbound { // RFC 5626 6
		dst = append(dst, "Require: outbound\r\n"...)
	}
	dst = append(dst, r.date.line(now)...)
	return sip.AppendBody(dst, "", nil), vias, head
}

// appendUnavailable turns a 200 that could not be kept into a 503: vias and head as appendAnswer gave them.
func appendUnavailable(answer []byte, vias, head int) []byte {
	start := vias - len("SIP/2.0 200 OK\r\n")
	kept := bytes.Clone(answer[vias:head])
	answer = append(answer[:start], "SIP/2.0 503 Service Unavailable\r\n"...)
	answer = append(answer, kept...)
	answer = append(answer, retryAfter...)
	return sip.AppendBody(answer, "", nil)
}

// retryAfter asks for patience: the database is away or behind, and everybody coming back at once does not help it.
const retryAfter = "Retry-After: 5\r\n"

func (r *Registrar) appendRefusal(dst []byte, m *sip.Message, e *sip.Error) []byte {
	var tag [16]byte
	return sip.AppendRefusal(dst, m, e, string(r.appendTag(tag[:0], m)))
}

// appendTag makes the To tag. It is the same for a retransmission (RFC 3261 8.2.7 asks that of stateless answers).
func (r *Registrar) appendTag(dst []byte, m *sip.Message) []byte {
	return appendHex(dst, r.sum(m.CallID, uint64(m.CSeq)), 12)
}

// appendHex writes the lowest digits of n.
func appendHex(dst []byte, n uint64, digits int) []byte {
	for i := digits - 1; i >= 0; i-- {
		dst = append(dst, "0123456789abcdef"[n>>(4*i)&15])
	}
	return dst
}

// dateLine keeps the Date header of the current second.
type dateLine struct {
	last atomic.Pointer[datedLine]
}

type datedLine struct {
	second int64
	text   string
}

func (d *dateLine) line(now time.Time) string {
	if l := d.last.Load(); l != nil && l.second == now.Unix() {
		return l.text
	}
	// RFC 3261 20.17 wants the form that HTTP uses, always GMT.
	l := &datedLine{now.Unix(), "Date: " + now.UTC().Format(http.TimeFormat) + "\r\n"}
	d.last.Store(l)
	return l.text
}

// Sender sends for one goroutine at a time. *transport.Batch is one.
type Sender interface {
	Send(f transport.Flow, b []byte)
	Flush()
}
