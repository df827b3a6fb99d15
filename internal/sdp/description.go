// Package sdp reads, edits and writes session descriptions (RFC 8866) as offers
// and answers (RFC 3264).
//
// The reader keeps every line as it came: what passes through the service has
// attributes that nobody here has heard of, and descriptions that are not quite
// right (no t= line, c= after b=, bare line feeds) but which agents understand.
package sdp

import (
	"bytes"
	"errors"
	"net/netip"
	"time"
)

var (
	errEmpty     = errors.New("sdp: no line of a session description")
	errMedia     = errors.New("sdp: malformed m= line")
	errManyMedia = errors.New("sdp: more media lines than anybody needs")
)

// Limits of what is read. A body is as long as its sender likes; a broadcast
// agent sends one or two media lines with a dozen formats.
const (
	maxMedia   = 32
	maxFormats = 128 // all payload types of RTP
)

// Description is a session description, as views over Raw. It is valid as long
// as those bytes are.
type Description struct {
	Raw       []byte
	Version   []byte // of the o= line
	Time      []byte // the first t= line
	Direction Direction
	Media     []Media

	address netip.Addr // of the session-level c= line
	secured secured
	places  []place // ordered
}

// Media is one m= section. What it does not say itself it has from the session
// level.
type Media struct {
	Kind      []byte     // "audio"
	Proto     []byte     // "RTP/AVP"
	Formats   []Format   // in order of preference
	Address   netip.Addr // not valid: none, or a name
	Port      uint16     // 0: refused, or not to be used
	Ports     int        // consecutive ports, 1 unless the line says more
	RTCP      uint16     // where RTCP goes: from a=rtcp, else Port, or Port+1 as RFC 3550 11 says
	Mux       bool       // a=rtcp-mux
	Direction Direction  // as seen by whoever sent the description; what Held takes away is away
	Held      bool       // the address is 0.0.0.0: held in the way of RFC 2543
	PTime     time.Duration
	MaxPTime  time.Duration
	ICE       bool // has ICE credentials or candidates
	DTLS      bool // has a certificate fingerprint
	SDES      bool // has a key in a=crypto

	formats []byte // the formats as text
	placed  bool   // has a c= line of its own
}

// secured are attributes that may stand at the session level for all media.
type secured struct{ ice, dtls bool }

// Remote is where the sender of the description receives; not valid if it
// receives nowhere, or at a name.
func (m *Media) Remote() netip.AddrPort {
	if m.Port == 0 || !m.Address.IsValid() || m.Address.IsUnspecified() {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(m.Address, m.Port)
}

func (m *Media) audio() bool { return bytes.EqualFold(m.Kind, []byte("audio")) }

// Direction is which way media flows, seen by the sender of the description.
type Direction uint8

const (
	Inactive Direction = 0
	SendOnly Direction = 1
	RecvOnly Direction = 2
	SendRecv           = SendOnly | RecvOnly
)

func (d Direction) String() string {
	return [...]string{"inactive", "sendonly", "recvonly", "sendrecv"}[d&SendRecv]
}

// Reverse is the same flow seen from the other side.
func (d Direction) Reverse() Direction { return d&SendOnly<<1 | d&RecvOnly>>1 }

// place is where in Raw something stands that a relay has to change.
type place struct {
	from, to int
	media    int // index of the m= section, -1 for the session level
	what     what
}

type what uint8

const (
	connection what = iota // "IP4 192.0.2.7" of a c= line
	origin                 // the same in an o= line
	mediaPort
	rtcpPort
	rtcpAddress
	fecPort
	fecAddress
)

// Parse reads a session description. It is content with little: what it does
// not understand it passes over. An error means that there is no description in
// b, or that its media cannot be told.
func Parse(b []byte) (*Description, error) {
	d := &Description{Raw: b, Direction: SendRecv}
	known := false
	for at := 0; at < len(b); {
		end, next := lineEnd(b, at)
		line := b[at:end]
		if len(line) >= 2 && line[1] == '=' {
			if 'a' <= line[0] && line[0] <= 'z' {
				known = true
			}
			if err := d.line(line[0], words{b: b, at: at + 2, end: end}); err != nil {
				return nil, err
			}
		}
		at = next
	}
	if !known {
		return nil, errEmpty
	}
	for i := range d.Media {
		d.finish(&d.Media[i])
	}
	return d, nil
}

// lineEnd finds the end of the line at i and the start of the next. Lines end
// with CRLF; LF alone is common, and CR alone has to end one so that no value
// ever has a line end in it.
func lineEnd(b []byte, i int) (end, next int) {
	end = i
	for end < len(b) && b[end] != '\r' && b[end] != '\n' {
		end++
	}
	next = min(end+1, len(b))
	if next < len(b) && b[end] == '\r' && b[next] == '\n' {
		next++
	}
	return end, next
}

func (d *Description) line(kind byte, w words) error {
	media := len(d.Media) - 1
	switch kind {
	case 'o':
		if media < 0 {
			w.next() // user name
			w.next() // session identifier
			d.Version = w.text()
			d.addressAt(&w, origin)
		}
	case 't':
		if d.Time == nil {
			d.Time = w.rest()
		}
	case 'c':
		addr := d.addressAt(&w, connection)
		switch {
		case media < 0:
			d.address = addr
		case !d.Media[media].placed: // the first, also if it is a name: others are further layers of RFC 8866 5.7
			d.Media[media].Address, d.Media[media].placed = addr, true
		}
	case 'm':
		return d.mediaLine(&w)
	case 'a':
		d.attribute(&w)
	}
	return nil
}

// mediaLine reads "audio 49170/2 RTP/AVP 0 8 97".
func (d *Description) mediaLine(w *words) error {
	if len(d.Media) == maxMedia {
		return errManyMedia
	}
	m := Media{Kind: w.text(), Ports: 1, Direction: d.Direction}
	from, to := w.next()
	port, count, several := bytes.Cut(w.b[from:to], []byte{'/'})
	n, ok := number(port)
	if !ok || n > 0xffff {
		return errMedia
	}
	m.Port = uint16(n)
	if several {
		if m.Ports, ok = number(count); !ok || m.Ports == 0 {
			return errMedia
		}
	}
	m.Proto = w.text()
	if len(m.Proto) == 0 {
		return errMedia
	}
	d.places = append(d.places, place{from, from + len(port), len(d.Media), mediaPort})
	m.formats = w.rest()
	m.Formats = make([]Format, 0, min(1+bytes.Count(m.formats, []byte{' '}), maxFormats))
	for len(m.Formats) < maxFormats {
		f := w.text()
		if len(f) == 0 {
			break
		}
		m.Formats = append(m.Formats, newFormat(f))
	}
	d.Media = append(d.Media, m)
	return nil
}

// addressAt reads "IN IP4 192.0.2.7/127" and notes its place. The address is
// not valid if it is a name.
func (d *Description) addressAt(w *words, kind what) netip.Addr {
	if !bytes.EqualFold(w.text(), []byte("IN")) {
		return netip.Addr{}
	}
	from, to := w.next()
	if family := w.b[from:to]; !bytes.EqualFold(family, []byte("IP4")) && !bytes.EqualFold(family, []byte("IP6")) {
		return netip.Addr{}
	}
	start, end := w.next()
	if start == end {
		return netip.Addr{}
	}
	addr := parseAddr(w.b[start:end])
	// Held by 0.0.0.0: an address of ours there would take the hold off.
	if kind == origin || !addr.IsUnspecified() {
		d.places = append(d.places, place{from, end, len(d.Media) - 1, kind})
	}
	return addr
}

// parseAddr reads an address; not valid if it is a name. A time to live after
// it, which multicast has, belongs to it.
func parseAddr(b []byte) netip.Addr {
	host, _, _ := bytes.Cut(b, []byte{'/'})
	addr, err := netip.ParseAddr(string(host))
	if err != nil || addr.Zone() != "" {
		return netip.Addr{}
	}
	return addr
}

// finish fills in what a section has from elsewhere.
func (d *Description) finish(m *Media) {
	if !m.placed {
		m.Address = d.address
	}
	m.ICE = m.ICE || d.secured.ice
	m.DTLS = m.DTLS || d.secured.dtls
	// RFC 3264 8.4: nothing is to be sent there.
	if m.Held = m.Address.IsUnspecified(); m.Held {
		m.Direction &^= RecvOnly
	}
	if m.RTCP == 0 && m.Port != 0 {
		m.RTCP = m.Port
		if !m.Mux {
			m.RTCP++
		}
	}
}

// words walks the words of a line, of which it knows the place.
type words struct {
	b       []byte
	at, end int
}

func blank(c byte) bool { return c == ' ' || c == '\t' }

// next gives the place of the next word; an empty one at the end of the line.
func (w *words) next() (from, to int) {
	for w.at < w.end && blank(w.b[w.at]) {
		w.at++
	}
	from = w.at
	for w.at < w.end && !blank(w.b[w.at]) {
		w.at++
	}
	return from, w.at
}

// text is the next word itself.
func (w *words) text() []byte {
	from, to := w.next()
	return w.b[from:to]
}

// rest is what is left of the line, without the white space around it. It does
// not move on.
func (w *words) rest() []byte { return bytes.Trim(w.b[w.at:w.end], " \t") }

// number reads decimal digits, nothing else.
func number(b []byte) (int, bool) {
	if len(b) == 0 || len(b) > 9 {
		return 0, false
	}
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}
