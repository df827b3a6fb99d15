package relay

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// writer appends the fields of a state.
type writer []byte

func (w *writer) byte(v byte)   { *w = append(*w, v) }
func (w *writer) uint(v uint64) { *w = binary.AppendUvarint(*w, v) }
func (w *writer) int(v int64)   { *w = binary.AppendVarint(*w, v) }

func (w *writer) bool(v bool) {
	if v {
		w.byte(1)
	} else {
		w.byte(0)
	}
}

func (w *writer) string(v string) {
	w.uint(uint64(len(v)))
	*w = append(*w, v...)
}

func (w *writer) addr(v netip.Addr) {
	b := v.AsSlice()
	w.byte(byte(len(b)))
	*w = append(*w, b...)
}

func (w *writer) addrPort(v netip.AddrPort) {
	w.addr(v.Addr())
	w.uint(uint64(v.Port()))
}

func (w *writer) remote(r *Remote) {
	w.addrPort(r.RTP)
	w.addrPort(r.RTCP)
	w.addr(r.Source)
	w.bool(r.Mux)
	w.uint(uint64(len(r.Clocks)))
	for _, c := range r.Clocks {
		w.byte(c.PayloadType)
		w.uint(uint64(c.Rate))
	}
}

func (w *writer) lock(l *lock) {
	w.addrPort(l.source)
	w.bool(l.proven)
	w.byte(byte(l.count))
	for _, p := range l.streams[:l.count] {
		w.uint(uint64(p.ssrc))
		w.uint(uint64(p.sequence))
	}
}

func (w *writer) traffic(t Traffic) {
	for _, v := range []uint64{t.Packets, t.Bytes, t.Lost, t.Bursts, t.LongestBurst, t.Duplicates, t.Reordered, t.Strays,
		t.Restarts, uint64(t.MaxJitter), t.Sources, t.Control, t.Other} {
		w.uint(v)
	}
}

// reader takes the fields of a state. After the end of it, or something that cannot be, failed is set and all that it
// gives is zero.
type reader struct {
	b      []byte
	failed bool
}

func (r *reader) take(n int) []byte {
	if r.failed || n > len(r.b) {
		r.failed = true
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) bool() bool { return r.byte() != 0 }

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if r.failed || n <= 0 {
		r.failed = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) int() int64 {
	v, n := binary.Varint(r.b)
	if r.failed || n <= 0 {
		r.failed = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) string() string {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.failed = true
	}
	return string(r.take(int(n)))
}

func (r *reader) addr() netip.Addr {
	n := int(r.byte())
	if n == 0 {
		return netip.Addr{}
	}
	a, ok := netip.AddrFromSlice(r.take(n))
	if !ok {
		r.failed = true
	}
	return a
}

func (r *reader) addrPort() netip.AddrPort {
	a := r.addr()
	port := r.uint()
	if !a.IsValid() && port == 0 {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a, uint16(port))
}

func (r *reader) remote() Remote {
	v := Remote{RTP: r.addrPort(), RTCP: r.addrPort(), Source: r.addr(), Mux: r.bool()}
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.failed = true
		return Remote{}
	}
	for range n {
		v.Clocks = append(v.Clocks, Clock{r.byte(), uint32(r.uint())})
	}
	return v
}

func (r *reader) lock() lock {
	l := lock{source: r.addrPort(), proven: r.bool(), count: int(r.byte())}
	if l.count > maxStreams {
		r.failed = true
		return lock{}
	}
	for i := range l.count {
		l.streams[i] = position{uint32(r.uint()), uint16(r.uint())}
	}
	return l
}

func (r *reader) traffic() Traffic {
	var t Traffic
	for _, v := range []*uint64{&t.Packets, &t.Bytes, &t.Lost, &t.Bursts, &t.LongestBurst, &t.Duplicates, &t.Reordered,
		&t.Strays, &t.Restarts, (*uint64)(nil), &t.Sources, &t.Control, &t.Other} {
		n := r.uint()
		if v == nil {
			t.MaxJitter = time.Duration(n)
		} else {
			*v = n
		}
	}
	return t
}
