package transaction

import "time"

// tick is the grain of the timers: T1 is 500 ms, so 20 ms are exact enough.
const tick = 20 * time.Millisecond

// slots times tick (41 s) spans timers B, F, H, J, L and M; a longer timer is passed over once each turn.
const slots = 2048

// wheel holds a shard's timers: setting and stopping one costs the same however many there are.
type wheel struct {
	start time.Time
	now   int64 // ticks since start that have been served
	count int
	slot  [slots]*Timer
}

// Timer runs a function in its shard once, unless it is stopped first. The zero value is a stopped timer.
type Timer struct {
	fire       func()
	owner      expirer
	wheel      *wheel
	next, prev *Timer
	at         int64
}

// expirer is who owns a timer that is part of it, so that setting it allocates nothing.
type expirer interface{ expire(t *Timer) }

func (w *wheel) set(t *Timer, now time.Time, d time.Duration) {
	t.Stop()
	if w.count == 0 { // nothing was waiting, so there are no ticks to serve
		w.now = max(w.now, w.ticks(now))
	}
	t.wheel = w
	t.at = max(w.ticks(now.Add(d+tick-1)), w.now+1)
	head := &w.slot[t.at%slots]
	t.next, t.prev = *head, nil
	if t.next != nil {
		t.next.prev = t
	}
	*head = t
	w.count++
}

// Stop takes the timer off, if there is one; it may be set again.
func (t *Timer) Stop() {
	if t == nil || t.wheel == nil {
		return
	}
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		t.wheel.slot[t.at%slots] = t.next
	}
	if t.next != nil {
		t.next.prev = t.prev
	}
	t.wheel.count--
	t.wheel, t.next, t.prev = nil, nil, nil
}

func (w *wheel) ticks(at time.Time) int64 { return int64(at.Sub(w.start) / tick) }

// advance runs what is due.
func (w *wheel) advance(now time.Time) {
	until := w.ticks(now)
	if until-w.now > slots { // one turn sees every slot
		w.now = until - slots
	}
	for w.now < until && w.count > 0 {
		w.now++
		for t := w.slot[w.now%slots]; t != nil; {
			next := t.next
			if t.at <= until {
				t.Stop()
				if t.fire != nil {
					t.fire()
				} else {
					t.owner.expire(t)
				}
				// What fired may have stopped or set any other timer: begin this slot again.
				next = w.slot[w.now%slots]
			}
			t = next
		}
	}
	w.now = max(w.now, until)
}

// pause is how long nothing is due.
func (w *wheel) pause(now time.Time) time.Duration {
	for i := int64(1); i <= slots; i++ {
		if w.slot[(w.now+i)%slots] != nil {
			return max(w.start.Add(time.Duration(w.now+i)*tick).Sub(now), 0)
		}
	}
	return time.Hour
}
