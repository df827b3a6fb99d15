package registrar

import (
	"hash/maphash"
	"sync"

	"liaison/internal/account"
)

const (
	stripes   = 256 // a power of two
	chunkSize = 16  // slots are allocated this many at a time: a stripe wastes half of it
)

// stripe is the part of the table that one mutex guards. Nothing that can block is done under it.
//
// Slots live in chunks and are known by their number, from 1 on; the slots of accounts with the same hash form a chain.
// So the map has no pointers in it, and the collector never looks inside.
type stripe struct {
	mu      sync.Mutex
	index   map[uint64]uint32 // hash of the account -> first slot
	chunks  []*[chunkSize]slot
	used    uint32 // slots ever handed out
	free    uint32 // first of the free chain
	pending map[account.Number]*pending
	spare   []*pending
}

// pending is what the bindings of an account will be when the commits under way have succeeded. A REGISTER that comes
// meanwhile is judged by it.
type pending struct {
	bindings []slot
	jobs     int  // commits under way
	broken   bool // one of them failed, so the later ones build on nothing; the committer's own
}

// table is all stripes.
type table struct {
	seed    maphash.Seed
	stripes [stripes]stripe
}

func (t *table) init() {
	t.seed = maphash.MakeSeed()
	for i := range t.stripes {
		t.stripes[i].index = make(map[uint64]uint32)
		t.stripes[i].pending = make(map[account.Number]*pending)
	}
}

func hash[T ~string](t *table, n T) (uint64, *stripe) {
	h := maphash.String(t.seed, string(n))
	return h, &t.stripes[h>>56]
}

func (s *stripe) at(i uint32) *slot { return &s.chunks[(i-1)/chunkSize][(i-1)%chunkSize] }

// bindingsLocked appends copies of the slots of an account that have not run out.
func (s *stripe) bindingsLocked(h uint64, aor string, now int64, dst []slot) []slot {
	for i := s.index[h]; i != 0; {
		b := s.at(i)
		if b.expires > now && b.aor() == aor {
			dst = append(dst, *b)
		}
		i = b.next
	}
	return dst
}

// findLocked is the slot with that ID, nil if there is none.
func (s *stripe) findLocked(h uint64, id int64) *slot {
	for i := s.index[h]; i != 0; {
		b := s.at(i)
		if b.id == id {
			return b
		}
		i = b.next
	}
	return nil
}

// twinLocked is the ID of a binding that names the same place as b, 0 if there is none.
func (s *stripe) twinLocked(h uint64, b *slot) int64 {
	for i := s.index[h]; i != 0; {
		at := s.at(i)
		if at.aor() == b.aor() && at.contact() == b.contact() && at.instance() == b.instance() && at.regID == b.regID {
			return at.id
		}
		i = at.next
	}
	return 0
}

// insertLocked puts a binding behind those that its account has.
func (s *stripe) insertLocked(h uint64, b *slot) {
	i := s.free
	if i != 0 {
		s.free = s.at(i).next
	} else {
		if int(s.used) == len(s.chunks)*chunkSize {
			s.chunks = append(s.chunks, new([chunkSize]slot))
		}
		s.used++
		i = s.used
	}
	at := s.at(i)
	*at = *b
	at.flags |= flagUsed
	at.next = 0
	last := s.index[h]
	if last == 0 {
		s.index[h] = i
		return
	}
	for s.at(last).next != 0 {
		last = s.at(last).next
	}
	s.at(last).next = i
}

// removeLocked takes out the slot with that ID and gives what it was.
func (s *stripe) removeLocked(h uint64, id int64) (slot, bool) {
	last := uint32(0)
	for i := s.index[h]; i != 0; {
		b := s.at(i)
		if b.id != id {
			last, i = i, b.next
			continue
		}
		switch {
		case last != 0:
			s.at(last).next = b.next
		case b.next != 0:
			s.index[h] = b.next
		default:
			delete(s.index, h)
		}
		was := *b
		*b = slot{next: s.free}
		s.free = i
		return was, true
	}
	return slot{}, false
}

// pendLocked is the pending state of an account, made from what it has now if there is none yet.
func (s *stripe) pendLocked(n account.Number) *pending {
	p := s.pending[n]
	if p == nil {
		if last := len(s.spare) - 1; last >= 0 {
			p, s.spare = s.spare[last], s.spare[:last]
		} else {
			p = new(pending)
		}
		s.pending[n] = p
	}
	return p
}

// settleLocked ends one commit of an account.
func (s *stripe) settleLocked(n account.Number, p *pending) {
	p.jobs--
	if p.jobs > 0 {
		return
	}
	if s.pending[n] == p {
		delete(s.pending, n)
	}
	if len(s.spare) < 8 && cap(p.bindings) <= 2*DefaultContacts {
		clear(p.bindings)
		*p = pending{bindings: p.bindings[:0]}
		s.spare = append(s.spare, p)
	}
}
