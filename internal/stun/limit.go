package stun

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// limitSets and limitWays bound what is remembered: 32,768 sources in half a megabyte.
const (
	limitSets = 4096
	limitWays = 8
)

// limiter lets each source have a burst of answers and then so many a second. A source is an IPv4 address or an IPv6
// /64, which one site owns whole.
//
// It is a table of the times at which sources will have worked off what they had (GCRA). Where a set is full the source
// that is the nearest to that time makes room: a flood of forged sources does not make it forget the one that it limits.
type limiter struct {
	interval time.Duration // between answers
	credit   time.Duration // how far ahead of the interval a source may be
	begin    time.Time
	seed     maphash.Seed

	mu   sync.Mutex
	sets [limitSets][limitWays]allowance
}

// allowance is one source. The zero value is a place that nobody has.
type allowance struct {
	source uint64
	done   time.Duration // since begin: when it will have worked off its answers
}

func newLimiter(rate, burst int) *limiter {
	interval := time.Second / time.Duration(rate)
	return &limiter{interval: interval, credit: time.Duration(burst-1) * interval, begin: time.Now(), seed: maphash.MakeSeed()}
}

// allow tells whether a source may have one more answer, and counts it.
func (l *limiter) allow(a netip.Addr) bool {
	source := sourceOf(a)
	// Seeded, so that nobody can choose sources that meet in one set.
	set := &l.sets[maphash.Comparable(l.seed, source)%limitSets]
	now := time.Since(l.begin)
	l.mu.Lock()
	defer l.mu.Unlock()
	place := &set[0]
	for i := range set {
		if set[i].source == source {
			place = &set[i]
			break
		}
		if set[i].done < place.done {
			place = &set[i]
		}
	}
	if place.source != source {
		*place = allowance{source: source, done: now}
	}
	place.done = max(place.done, now)
	if place.done-now > l.credit {
		return false
	}
	place.done += l.interval
	return true
}

// sourceOf keeps the families apart.
func sourceOf(a netip.Addr) uint64 {
	a = a.Unmap()
	if a.Is4() {
		b := a.As4()
		return 0xffff<<48 | uint64(binary.BigEndian.Uint32(b[:])) // as IPv6 it would be multicast, which nobody sends from
	}
	b := a.As16()
	return binary.BigEndian.Uint64(b[:8])
}
