package registrar

import (
	"net/netip"
	"time"
	"unique"

	"liaison/internal/account"
	"liaison/internal/sip/transport"
)

// slot is a Binding as it is kept: about 110 bytes and one string, so that 100,000 agents fit beside everything else.
// Times are Unix milliseconds; what many agents share (their product, our own address) is kept once.
type slot struct {
	text   string // AOR, Contact, Call-ID, Instance, Path one after the other
	agent  unique.Handle[string]
	local  unique.Handle[localEnd]
	remote [16]byte

	id, since, expires, seen int64

	cseq, regID, conn uint32
	next              uint32 // in its stripe: the next slot of the same account, or of the free chain

	port, q               uint16
	contactLen, callIDLen uint16
	aorLen, instanceLen   uint8
	proto                 transport.Proto
	flags                 flags
	misses                uint8
	round                 uint8 // of the last ping: an answer to an older one is not life
}

// localEnd is what the flows of many agents have in common.
type localEnd struct {
	addr netip.AddrPort
	zone string // of an IPv6 link-local remote
	is4  bool
}

type flags uint8

const (
	flagUsed        flags = 1 << iota
	flagProven            // has answered a ping
	flagUnreachable       //
	flagPinged            // the answer to the last ping is awaited
	flagDirty             // the stored Reach is another one
	flagUnsure            // a commit failed: the row may not be there, so the next refresh writes it whole
)

func (s *slot) aor() string     { return s.text[:s.aorLen] }
func (s *slot) contact() string { return s.text[s.aorLen:][:s.contactLen] }
func (s *slot) callID() string  { return s.text[int(s.aorLen)+int(s.contactLen):][:s.callIDLen] }
func (s *slot) instance() string {
	return s.text[int(s.aorLen)+int(s.contactLen)+int(s.callIDLen):][:s.instanceLen]
}
func (s *slot) path() string {
	return s.text[int(s.aorLen)+int(s.contactLen)+int(s.callIDLen)+int(s.instanceLen):]
}

func (s *slot) reach() Reach {
	switch {
	case s.flags&flagUnreachable != 0:
		return Unreachable
	case s.flags&flagProven != 0:
		return Reachable
	}
	return Unproven
}

func (s *slot) setReach(r Reach) {
	s.flags &^= flagProven | flagUnreachable
	switch r {
	case Reachable:
		s.flags |= flagProven
	case Unreachable:
		s.flags |= flagProven | flagUnreachable
	}
}

func (s *slot) remoteAddr() netip.Addr {
	a := netip.AddrFrom16(s.remote)
	end := s.local.Value()
	if end.is4 {
		return a.Unmap()
	}
	if end.zone != "" {
		return a.WithZone(end.zone)
	}
	return a
}

func (s *slot) flow() transport.Flow {
	return transport.Flow{
		Proto:  s.proto,
		Local:  s.local.Value().addr,
		Remote: netip.AddrPortFrom(s.remoteAddr(), s.port),
		Conn:   s.conn,
	}
}

func (s *slot) setFlow(f transport.Flow) {
	remote := f.Remote.Addr()
	s.proto, s.conn, s.port, s.remote = f.Proto, f.Conn, f.Remote.Port(), remote.As16()
	s.local = unique.Make(localEnd{f.Local, remote.Zone(), remote.Is4()})
}

func (s *slot) hasFlow(f transport.Flow) bool {
	return s.port == f.Remote.Port() && s.proto == f.Proto && s.conn == f.Conn &&
		s.remoteAddr() == f.Remote.Addr() && s.local.Value().addr == f.Local
}

// sameFlow compares two slots' flows.
func (s *slot) sameFlow(o *slot) bool {
	return s.port == o.port && s.proto == o.proto && s.conn == o.conn && s.remote == o.remote && s.local == o.local
}

func (s *slot) binding() Binding {
	return Binding{
		ID:        s.id,
		AOR:       account.Number(s.aor()),
		Contact:   s.contact(),
		Instance:  s.instance(),
		RegID:     s.regID,
		CallID:    s.callID(),
		CSeq:      s.cseq,
		Q:         s.q,
		Path:      s.path(),
		UserAgent: s.agent.Value(),
		Flow:      s.flow(),
		Since:     time.UnixMilli(s.since),
		Expires:   time.UnixMilli(s.expires),
		Seen:      time.UnixMilli(s.seen),
		Reach:     s.reach(),
	}
}

// slotOf packs a stored binding; false: it breaks a limit, so this program did not write it.
func slotOf(b *Binding) (slot, bool) {
	if len(b.AOR) == 0 || len(b.AOR) > maxAOR || len(b.Contact) > maxContact || len(b.CallID) > maxCallID ||
		len(b.Instance) > maxInstance || len(b.Path) > maxPath || !b.Flow.Remote.IsValid() {
		return slot{}, false
	}
	s := slot{
		text:        string(b.AOR) + b.Contact + b.CallID + b.Instance + b.Path,
		agent:       unique.Make(b.UserAgent),
		id:          b.ID,
		since:       b.Since.UnixMilli(),
		expires:     b.Expires.UnixMilli(),
		seen:        b.Seen.UnixMilli(),
		cseq:        b.CSeq,
		regID:       b.RegID,
		q:           b.Q,
		contactLen:  uint16(len(b.Contact)),
		callIDLen:   uint16(len(b.CallID)),
		aorLen:      uint8(len(b.AOR)),
		instanceLen: uint8(len(b.Instance)),
		flags:       flagUsed,
	}
	s.setFlow(b.Flow)
	s.setReach(b.Reach)
	return s, true
}
