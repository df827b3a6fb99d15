package relay

import (
	"encoding/binary"
	"errors"
	"math/bits"
	"time"
)

// Sample is what a side sent of a stream in a stretch of time.
type Sample struct {
	At, Span                                            time.Duration // since the session began; whole seconds
	Packets, Bytes, Lost, Bursts, Duplicates, Reordered uint64
	Jitter                                              time.Duration // at the end, to about 6 %
}

// How long a stretch is, by the age of the session.
const (
	fineStep, fineUntil     = time.Second, time.Hour
	middleStep, middleUntil = 10 * time.Second, 24 * time.Hour
	coarseStep              = time.Minute
)

// History is a line of samples in few bytes: about two for each of a steady stream. Each second of the first hour, each
// ten seconds of the first day and each minute after have a sample of their own. The first day is bounded by its number
// of samples; of what comes after, the oldest is forgotten when there is more than about a fortnight.
type History struct {
	parts []part // fine, middle, then coarse ones
	end   time.Duration
}

// part is a stretch that can be read without the others.
type part struct {
	at   time.Duration
	step time.Duration
	b    []byte
	last Sample // the one before, without At
	run  bool   // b ends with the count of a run
}

// coarsePart is how many bytes of coarse samples are forgotten together; two such parts are kept.
const coarsePart = 32 << 10

// A sample is a byte of these bits and the numbers that they announce; a byte from repeat on says that the sample before
// came again, so many times.
const (
	hasVolume = 1 << iota // packets and bytes follow: they are not those of the sample before
	hasJitter             // its byte follows
	hasFaults             // lost, bursts, duplicates, reordered follow: not all zero
	hasSpan               // seconds follow: not one step
	repeat    = 0x80
)

func (h *History) start(at time.Duration) { h.end = max(0, at).Truncate(time.Second) }

// step is how long the next sample should be.
func (h *History) step() time.Duration {
	switch {
	case h.end < fineUntil:
		return fineStep
	case h.end < middleUntil:
		return middleStep
	}
	return coarseStep
}

// Append takes a sample that follows the last one; its At does not matter.
func (h *History) Append(s Sample) {
	if s.Span <= 0 {
		return // less than half a second at the end
	}
	p := h.part()
	s.At = 0
	s.Jitter = unpackJitter(packJitter(s.Jitter))
	p.append(s)
	h.end += s.Span
}

// part is the one that takes the next sample.
func (h *History) part() *part {
	step := h.step()
	if n := len(h.parts); n > 0 && h.parts[n-1].step == step &&
		(step != coarseStep || len(h.parts[n-1].b) < coarsePart) {
		return &h.parts[n-1]
	}
	// The two newest coarse parts: this one and the full one before it.
	coarse := 0
	for i := range h.parts {
		if h.parts[i].step == coarseStep {
			coarse++
		}
	}
	if n := len(h.parts); step == coarseStep && coarse == 2 {
		h.parts = append(h.parts[:n-2], h.parts[n-1])
	}
	h.parts = append(h.parts, part{at: h.end, step: step})
	return &h.parts[len(h.parts)-1]
}

func (p *part) append(s Sample) {
	if len(p.b) > 0 && s == p.last && s.quiet() && s.Span == p.step {
		if n := len(p.b) - 1; p.run && p.b[n] < 0xff {
			p.b[n]++
		} else {
			p.b = append(p.b, repeat|1)
			p.run = true
		}
		return
	}
	p.run = false
	at := len(p.b)
	p.b = append(p.b, 0)
	if s.Packets != p.last.Packets || s.Bytes != p.last.Bytes {
		p.b[at] |= hasVolume
		p.b = binary.AppendUvarint(p.b, s.Packets)
		p.b = binary.AppendUvarint(p.b, s.Bytes)
	}
	if s.Jitter != p.last.Jitter {
		p.b[at] |= hasJitter
		p.b = append(p.b, packJitter(s.Jitter))
	}
	if !s.quiet() {
		p.b[at] |= hasFaults
		for _, v := range [...]uint64{s.Lost, s.Bursts, s.Duplicates, s.Reordered} {
			p.b = binary.AppendUvarint(p.b, v)
		}
	}
	if s.Span != p.step {
		p.b[at] |= hasSpan
		p.b = binary.AppendUvarint(p.b, uint64(s.Span/time.Second))
	}
	p.last = s
}

// quiet tells that nothing went wrong.
func (s *Sample) quiet() bool { return s.Lost|s.Bursts|s.Duplicates|s.Reordered == 0 }

// Samples gives all of them, the oldest first.
func (h *History) Samples() []Sample {
	var all []Sample
	for i := range h.parts {
		p := &h.parts[i]
		all, _ = appendSamples(all, p.b, p.at, p.step)
	}
	return all
}

// AppendTo appends the history as DecodeHistory reads it.
func (h *History) AppendTo(dst []byte) []byte {
	dst = append(dst, historyVersion)
	for i := range h.parts {
		p := &h.parts[i]
		dst = binary.AppendUvarint(dst, uint64(p.at/time.Second))
		dst = binary.AppendUvarint(dst, uint64(p.step/time.Second))
		dst = binary.AppendUvarint(dst, uint64(len(p.b)))
		dst = append(dst, p.b...)
	}
	return dst
}

const historyVersion = 1

var errHistory = errors.New("relay: not a history")

// DecodeHistory reads what AppendTo has written.
func DecodeHistory(b []byte) ([]Sample, error) {
	if len(b) == 0 || b[0] != historyVersion {
		return nil, errHistory
	}
	r := reader{b: b[1:]}
	var all []Sample
	for len(r.b) > 0 {
		at, step, size := r.uint(), r.uint(), r.uint()
		if r.failed || at > maxSeconds || step == 0 || step > maxSpan || size > uint64(len(r.b)) {
			return nil, errHistory
		}
		var ok bool
		all, ok = appendSamples(all, r.b[:size], time.Duration(at)*time.Second, time.Duration(step)*time.Second)
		if !ok {
			return nil, errHistory
		}
		r.b = r.b[size:]
	}
	return all, nil
}

// Bounds for what comes from a file: longer than any call and any sample, more samples than a history keeps.
const (
	maxSeconds = 1 << 32
	maxSpan    = 1 << 24
	maxSamples = 1 << 20
)

func appendSamples(all []Sample, b []byte, at, step time.Duration) ([]Sample, bool) {
	r := reader{b: b}
	var last Sample
	for len(r.b) > 0 {
		flags, n := r.byte(), 1
		if flags&repeat != 0 {
			n = int(flags &^ repeat)
		} else {
			last.Span = step
			if flags&hasVolume != 0 {
				last.Packets, last.Bytes = r.uint(), r.uint()
			}
			if flags&hasJitter != 0 {
				last.Jitter = unpackJitter(r.byte())
			}
			last.Lost, last.Bursts, last.Duplicates, last.Reordered = 0, 0, 0, 0
			if flags&hasFaults != 0 {
				last.Lost, last.Bursts, last.Duplicates, last.Reordered = r.uint(), r.uint(), r.uint(), r.uint()
			}
			if flags&hasSpan != 0 {
				last.Span = time.Duration(min(r.uint(), maxSpan)) * time.Second
			}
		}
		if r.failed || at > maxSeconds*time.Second || len(all) > maxSamples {
			return all, false
		}
		for range n {
			last.At = at
			all = append(all, last)
			at += last.Span
		}
	}
	return all, true
}

// Jitter is kept as a number of 5 bits exponent and 3 bits mantissa of jitterUnit: 50 us to minutes in one byte.
const jitterUnit = 50 * time.Microsecond

func packJitter(d time.Duration) byte {
	n := uint64(max(0, d) / jitterUnit)
	if n < 8 {
		return byte(n)
	}
	e := bits.Len64(n) - 4 // n is 8..15 times 2^e
	if e > 30 {
		return 0xff
	}
	return byte(e+1)<<3 | byte(n>>e)&7
}

func unpackJitter(b byte) time.Duration {
	n, e := uint64(b&7), b>>3
	if e > 0 {
		n = (n | 8) << (e - 1)
	}
	return time.Duration(n) * jitterUnit
}
