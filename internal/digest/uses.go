package digest

import (
	"math"
	"slices"
	"sort"
	"time"
)

// Uses remembers which nonce counts were used, so that overheard credentials
// cannot be sent again. It belongs to one stripe of accounts and to whoever
// holds that stripe's lock.
//
// It is bounded: when it is full the oldest nonces go, and a nonce as old as
// those is refused from then on, used or not. To its agent that is one more
// challenge with stale=true.
type Uses struct {
	nonces *Nonces
	limit  int
	floor  uint64 // nonces up to this one were forgotten
	used   []use  // ordered by id: agents use a nonce as soon as they get it, so almost every new one goes to the end
}

// use is what was used of one nonce. 24 bytes: there is one per agent.
type use struct {
	id     uint64
	window uint64 // bit i: the count highest-i was used
	high   uint32 // the highest count used
}

// DefaultUses is a limit for a stripe: at 256 stripes 500,000 nonces, at most
// 12 MB.
const DefaultUses = 2048

// NewUses makes the memory of one stripe for at most limit nonces; DefaultUses
// if it is zero.
func (n *Nonces) NewUses(limit int) *Uses {
	if limit <= 0 {
		limit = DefaultUses
	}
	return &Uses{nonces: n, limit: limit}
}

// Accept tells whether this use of the nonce is the first, and remembers it.
// The nonce must be Fresh and the credentials verified: what a stranger sends
// must not use up anything. If it is false the answer is a challenge with
// stale=true.
//
// Counts may arrive out of order (two requests over UDP), up to 64 behind the
// highest. Without qop a nonce serves once, and not after it served with qop.
func (u *Uses) Accept(nonce []byte, nc uint32, hasQOP bool, now time.Time) bool {
	id, ok := nonceID(nonce)
	// RFC 7616 3.4: the count starts at 1.
	if !ok || id <= u.floor || hasQOP && nc == 0 {
		return false
	}
	i := sort.Search(len(u.used), func(i int) bool { return u.used[i].id >= id })
	if i < len(u.used) && u.used[i].id == id {
		return hasQOP && u.used[i].accept(nc)
	}
	if len(u.used) == cap(u.used) || len(u.used) >= u.limit {
		i -= u.forget(now)
		if i < 0 {
			return false
		}
	}
	first := use{id: id, high: nc, window: 1}
	if !hasQOP {
		first.high, first.window = math.MaxUint32, math.MaxUint64
	}
	u.used = slices.Insert(u.used, i, first)
	return true
}

func (u *use) accept(nc uint32) bool {
	if nc > u.high {
		// A shift by 64 or more leaves nothing, as it should.
		u.window = u.window<<(nc-u.high) | 1
		u.high = nc
		return true
	}
	behind := u.high - nc
	if behind >= 64 || u.window&(1<<behind) != 0 {
		return false
	}
	u.window |= 1 << behind
	return true
}

// forget makes room before used grows: it drops what has expired, and if it is
// full all the same some of the oldest. It never moves the rest for the sake of
// a few. It gives the number of those that went.
func (u *Uses) forget(now time.Time) int {
	n := sort.Search(len(u.used), func(i int) bool {
		return !u.nonces.expired(uint32(u.used[i].id>>32), now)
	})
	if some := max(len(u.used)/16, 1); n < some {
		if len(u.used) < u.limit {
			return 0
		}
		n = some
	}
	u.floor = u.used[n-1].id
	u.used = slices.Delete(u.used, 0, n)
	return n
}
