package relay

import (
	"context"
	"log/slog"
	"time"
)

// Notice tells the owner of sessions what happened to the media of one.
type Notice struct {
	Session *Session
	Event   Event
	Side    Side // not of Silent
	Stream  int  // of Learned and Moved
	Control bool // of Learned and Moved: the source of RTCP
}

// Event is what happened.
type Event uint8

const (
	// Learned: the source of a side's media is known and locked. The State has changed.
	Learned Event = iota
	// Moved: it has another address now. The State has changed.
	Moved
	// Stopped: no RTP came from a side for 10 s. Its agent may be gone, or has nothing to say: worth a question. It is
	// told once, until RTP comes again or the session is signalled anew.
	Stopped
	// Silent: nothing came from any side for 60 s, not even RTCP, although none holds. It is told again each 60 s.
	Silent
)

func (e Event) String() string { return [...]string{"learned", "moved", "stopped", "silent"}[e] }

const (
	watchEvery   = 250 * time.Millisecond
	stoppedAfter = 10 * time.Second
	silentAfter  = 60 * time.Second
)

// silence is what a session knows of its media's absence.
type silence struct {
	armed   time.Time // nothing before counts: the last offer, answer, or end of a hold
	held    bool
	stopped [2]bool   // has been told
	again   time.Time // when to tell of a silent session again
}

// arm begins anew.
func (s *silence) arm(now time.Time) {
	s.armed = now
	s.stopped = [2]bool{}
	s.again = time.Time{}
}

// Hold says whether an agent holds the call. What is held is expected to be silent.
func (s *Session) Hold(held bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.silence.held == held {
		return
	}
	s.silence.held = held
	s.silence.arm(s.relay.now())
}

// watch looks at all sessions until ctx is done.
func (r *Relay) watch(ctx context.Context) {
	ticker := time.NewTicker(r.every)
	defer ticker.Stop()
	minute := time.NewTicker(time.Minute)
	defer minute.Stop()
	var before [numCounters]uint64
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			r.tick()
		case <-minute.C:
			r.summarise(ctx, &before)
		}
	}
}

// summarise says once a minute what was not forwarded: a flood is one line.
func (r *Relay) summarise(ctx context.Context, before *[numCounters]uint64) {
	var attrs []slog.Attr
	for c := dropStranger; c < numCounters; c++ {
		now := r.count(c)
		if n := now - before[c]; n > 0 {
			attrs = append(attrs, slog.Uint64(counterNames[c][1], n))
		}
		before[c] = now
	}
	if len(attrs) > 0 {
		r.log.LogAttrs(ctx, slog.LevelWarn, "relay: packets not forwarded in the last minute", attrs...)
	}
}

// tick looks at all sessions once.
func (r *Relay) tick() {
	now := r.now()
	r.mu.Lock()
	r.watching = r.watching[:0]
	for s := range r.sessions {
		r.watching = append(r.watching, s)
	}
	r.mu.Unlock()
	for _, s := range r.watching {
		r.notices = s.look(r.notices, now)
	}
	clear(r.watching) // a closed session is not held here
	for _, n := range r.notices {
		if r.config.Notify != nil {
			r.config.Notify(n)
		}
	}
	clear(r.notices)
	r.notices = r.notices[:0]
}

// look does for one session what is due, and appends what is to be told.
func (s *Session) look(notices []Notice, now time.Time) []Notice {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return notices
	}
	heard, media := s.silence.armed, [2]time.Time{s.silence.armed, s.silence.armed}
	both := true
	for i, st := range s.streams {
		for side := range st.ends {
			e := &st.ends[side]
			e.meter.sample(now, false)
			both = both && (e.set || i > 0) // a second line may be refused
			media[side] = later(media[side], e.rtp.lock.media)
			for _, p := range []*port{&e.rtp, &e.rtcp} {
				heard = later(heard, p.lock.heard)
				p.settle(now)
				if p.news != passed {
					n := Notice{Session: s, Event: Learned, Side: Side(side), Stream: i, Control: p.control}
					if p.news == moved {
						n.Event = Moved
					}
					p.news = passed
					notices = append(notices, n)
				}
			}
		}
	}
	if s.silence.held || !both {
		return notices
	}
	for side := range media {
		quiet := now.Sub(media[side]) >= stoppedAfter
		if quiet && !s.silence.stopped[side] {
			notices = append(notices, Notice{Session: s, Event: Stopped, Side: Side(side)})
		}
		s.silence.stopped[side] = quiet
	}
	if now.Sub(heard) >= silentAfter && !now.Before(s.silence.again) {
		s.silence.again = now.Add(silentAfter)
		notices = append(notices, Notice{Session: s, Event: Silent})
	}
	return notices
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
