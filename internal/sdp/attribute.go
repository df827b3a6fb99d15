package sdp

import (
	"bytes"
	"time"
)

// attribute reads an a= line of the session level or of the last m= section.
func (d *Description) attribute(w *words) {
	from := w.at
	colon := bytes.IndexByte(w.b[from:w.end], ':')
	name := bytes.Trim(w.b[from:w.end], " \t")
	if colon >= 0 {
		name = bytes.Trim(w.b[from:from+colon], " \t")
		w.at = from + colon + 1
	}
	var m *Media
	if len(d.Media) > 0 {
		m = &d.Media[len(d.Media)-1]
	}

	switch string(name) {
	case "sendrecv":
		d.direct(m, SendRecv)
	case "sendonly":
		d.direct(m, SendOnly)
	case "recvonly":
		d.direct(m, RecvOnly)
	case "inactive":
		d.direct(m, Inactive)
	case "ice-ufrag", "ice-pwd", "candidate":
		if m != nil {
			m.ICE = true
		} else {
			d.secured.ice = true
		}
	case "fingerprint":
		if m != nil {
			m.DTLS = true
		} else {
			d.secured.dtls = true
		}
	}
	if m == nil {
		return // the others belong to media
	}
	switch string(name) {
	case "rtpmap":
		if f := m.format(w.text()); f != nil {
			f.mapped(w.text(), m.audio())
		}
	case "fmtp":
		f := m.format(w.text())
		if f != nil && f.FMTP == nil {
			f.FMTP = w.rest()
		}
		d.fec(*w)
	case "ptime":
		m.PTime = milliseconds(w.rest())
	case "maxptime":
		m.MaxPTime = milliseconds(w.rest())
	case "rtcp":
		d.rtcp(m, w)
	case "rtcp-mux":
		m.Mux = true
	case "crypto":
		m.SDES = true
	}
}

func (d *Description) direct(m *Media, dir Direction) {
	if m != nil {
		m.Direction = dir
	} else {
		d.Direction = dir
	}
}

// rtcp reads "53020 IN IP4 126.16.64.4", of which the address may be missing.
// RFC 3605 2.1.
func (d *Description) rtcp(m *Media, w *words) {
	from, to := w.next()
	port, ok := number(w.b[from:to])
	if !ok || port == 0 || port > 0xffff {
		return
	}
	m.RTCP = uint16(port)
	d.places = append(d.places, place{from, to, len(d.Media) - 1, rtcpPort})
	d.addressAt(w, rtcpAddress)
}

// fec notes where a parity FEC stream goes that has a port of its own,
// "5006 IN IP4 192.0.2.7" after the payload type. RFC 2733 11.1.
func (d *Description) fec(w words) {
	from, to := w.next()
	port, ok := number(w.b[from:to])
	if !ok || port == 0 || port > 0xffff {
		return
	}
	before := len(d.places)
	d.places = append(d.places, place{from, to, len(d.Media) - 1, fecPort})
	if addr := d.addressAt(&w, fecAddress); !addr.IsValid() || len(w.rest()) > 0 {
		// The parameters of some other format.
		d.places = d.places[:before]
	}
}

// milliseconds reads "20" or "2.5"; 0 if it is neither.
func milliseconds(b []byte) time.Duration {
	whole, fraction, _ := bytes.Cut(b, []byte{'.'})
	n, ok := number(whole)
	if !ok || n > 1e6 {
		return 0
	}
	d := time.Duration(n) * time.Millisecond
	unit := time.Millisecond
	for _, c := range fraction {
		if c < '0' || c > '9' {
			return 0
		}
		unit /= 10
		d += unit * time.Duration(c-'0')
	}
	return d
}
