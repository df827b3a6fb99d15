package transaction

import "time"

// replies keeps the last answers of finished non-INVITE transactions for timer J, so that a retransmitted request gets
// the same bytes again. A finished transaction is nothing but these bytes: no pointer, nothing for the collector to
// follow. Above maxReplies bytes the oldest go early: a request that is repeated so late is judged afresh, which the
// registrar and the proxy bear.
type replies struct {
	index  map[key]uint64 // entry number
	ring   []reply        // entries first..next, at number % len
	first  uint64
	next   uint64
	chunks [][]byte // bytes of the entries, oldest chunk first
	base   uint64   // number of chunks[0]
	spare  []byte
}

type reply struct {
	key   key
	until int64 // unix ms
	chunk uint64
	off   uint32
	len   uint32
}

const (
	chunkSize  = 128 << 10
	maxReplies = 4 << 20
)

// get is the kept answer, nil if there is none.
func (r *replies) get(k key, now time.Time) []byte {
	n, ok := r.index[k]
	if !ok {
		return nil
	}
	e := &r.ring[n%uint64(len(r.ring))]
	if e.until <= now.UnixMilli() {
		return nil
	}
	return r.chunks[e.chunk-r.base][e.off : e.off+e.len]
}

func (r *replies) put(k key, b []byte, now time.Time) {
	if len(b) > chunkSize {
		return
	}
	r.expire(now)
	if r.index == nil {
		r.index = make(map[key]uint64)
	}
	if n := len(r.chunks); n == 0 || len(r.chunks[n-1])+len(b) > cap(r.chunks[n-1]) {
		for len(r.chunks) >= maxReplies/chunkSize {
			r.drop()
		}
		chunk := r.spare
		r.spare = nil
		if chunk == nil {
			chunk = make([]byte, 0, chunkSize)
		}
		r.chunks = append(r.chunks, chunk[:0])
	}
	if r.next-r.first == uint64(len(r.ring)) {
		r.grow()
	}
	last := len(r.chunks) - 1
	r.ring[r.next%uint64(len(r.ring))] = reply{k, now.Add(timerJ).UnixMilli(), r.base + uint64(last), uint32(len(r.chunks[last])), uint32(len(b))}
	r.chunks[last] = append(r.chunks[last], b...)
	r.index[k] = r.next
	r.next++
}

func (r *replies) grow() {
	ring := make([]reply, max(256, 2*len(r.ring)))
	for n := r.first; n < r.next; n++ {
		ring[n%uint64(len(ring))] = r.ring[n%uint64(len(r.ring))]
	}
	r.ring = ring
}

// expire lets go of what has been kept long enough.
func (r *replies) expire(now time.Time) {
	ms := now.UnixMilli()
	for r.first < r.next && r.ring[r.first%uint64(len(r.ring))].until <= ms {
		r.drop()
	}
}

func (r *replies) drop() {
	e := &r.ring[r.first%uint64(len(r.ring))]
	if r.index[e.key] == r.first {
		delete(r.index, e.key)
	}
	r.first++
	oldest := r.base + uint64(len(r.chunks))
	if r.first < r.next {
		oldest = r.ring[r.first%uint64(len(r.ring))].chunk
	}
	for r.base < oldest {
		r.spare = r.chunks[0]
		r.chunks[0] = nil
		r.chunks = r.chunks[1:]
		r.base++
	}
}
