package call

import (
	"bytes"
	"strings"
	"time"

	"liaison/internal/account"
	"liaison/internal/sdp"
	"liaison/internal/sip"
	"liaison/internal/sip/transport"
)

// Leg is one side of a dialog, as we see it.
type Leg struct {
	Number account.Number `json:"number"`
	Party  string         `json:"party"`  // its From or To header, with tag
	Tag    string         `json:"tag"`    //
	Target string         `json:"target"` // remote target: its Contact
	Routes []string       `json:"routes"` // route set between us and it, in order
	Flow   transport.Flow `json:"flow"`   // where its last request came from, or its answer
	Bound  bool           `json:"bound"`  // the account was registered from there: see Call.Flow
	CSeq   uint32         `json:"cseq"`   // the last seen from it

	media    *Media      // of a callee's leg
	answered bool        // it sent a 2xx
	agent    string      // User-Agent
	early    string      // codecs of its answer, which may have come before its 2xx (RFC 3262 5)
	alive    time.Time   // last sign of life in this dialog
	missed   []time.Time // probes since then that nobody answered
	// stranger is where the account is registered now although this agent still answers where it was: another device.
	stranger transport.Flow
}

// note keeps what the record will want of a 2xx.
func (l *Leg) note(m *sip.Message) {
	if l.agent = text(m.Header(sip.HeaderUserAgent)); l.agent == "" {
		l.agent = text(m.Header(sip.HeaderServer))
	}
}

// bound tells that a flow is one that the account is registered from.
func (t *Table) bound(n account.Number, f transport.Flow) bool {
	now, ok := t.calls.Flow(n, f)
	return ok && now == f
}

// Flow is the path to a leg's agent now: that of its dialog while the account is registered from there, else that of its
// registration. Who was never registered from where it called (a second device, a programme of the operator's) is
// where it called from: the registration is somebody else's.
func (c *Call) Flow(l *Leg) transport.Flow {
	if l.Flow.Proto == transport.Link || !l.Bound && c.table.shard.Connected(l.Flow) {
		return l.Flow
	}
	if f, ok := c.table.calls.Flow(l.Number, l.Flow); ok && f != l.stranger {
		return f
	}
	return l.Flow
}

// party is a From or To for requests of our own (RFC 3261 12.2.1.1): of the header the URI and the tag.
func party(a *sip.Address) string {
	s := "<" + string(a.URI) + ">"
	if tag := a.Tag(); tag != nil {
		s += ";tag=" + string(tag)
	}
	return s
}

// contact is the URI of the first Contact.
func contact(m *sip.Message) string {
	for v := range m.Values(sip.HeaderContact) {
		if a, err := sip.ParseAddress(v); err == nil {
			return string(a.URI)
		}
		break
	}
	return ""
}

// text makes a header value fit to be kept: one line, bounded.
func text(b []byte) string {
	if len(b) > 256 {
		b = b[:256]
	}
	if bytes.IndexFunc(b, control) < 0 {
		return string(b)
	}
	return strings.Map(func(r rune) rune {
		if control(r) {
			return -1
		}
		return r
	}, string(b))
}

func control(r rune) bool {
	return r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0xfffd
}

// offered and agreed are the codecs of a body, for the record.
func offered(body []byte) string {
	if d, err := sdp.Parse(body); err == nil {
		return d.Offered()
	}
	return ""
}

func agreed(body []byte) string {
	if d, err := sdp.Parse(body); err == nil {
		return d.Agreed()
	}
	return ""
}
