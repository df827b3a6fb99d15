//go:build e2e

package audio

import "math"

// Match says where in a loop a recording begins, and how alike they are from there: 1 is the same
// but for level, 0 is unrelated. Both must have one rate, which should be low: every place is
// tried. The first channels are compared. The recording may run over the end of the loop.
func Match(recording, loop *Recording) (at int, likeness float64) {
	rec, ref := recording.Channels[0], loop.Channels[0]
	var energy float64 // of the loop under the recording
	for i := range rec {
		energy += ref[i%len(ref)] * ref[i%len(ref)]
	}
	double := append(append([]float64{}, ref...), ref...)
	likeness = math.Inf(-1)
	for o := range ref {
		var dot float64
		for i, x := range rec[:min(len(rec), len(double)-o)] {
			dot += x * double[o+i]
		}
		// Where the loop is silent, nothing is alike.
		if l := dot / math.Sqrt(energy+1e-9); l > likeness {
			at, likeness = o, l
		}
		first, next := ref[o], ref[(o+len(rec))%len(ref)]
		energy += next*next - first*first
	}
	return at, alike(rec, ref, at)
}

// Follow goes along a recording from a place in the loop, channel by channel at a place common to all, and gives how
// alike each channel is as a whole. A program on a loaded machine drops or doubles a few milliseconds now and then: what
// follows is found again up to a quarter of a second away, and only what is missing counts as unlike.
func Follow(recording, loop *Recording, at int) (likeness []float64) {
	const first = 8 // a codec's delay is not a whole number of samples at the low rate of Match
	piece, slip := recording.Rate, recording.Rate/4
	sums := make([]sum, len(recording.Channels))
	for start := 0; start < len(recording.Channels[0]); start += piece {
		here := recording.piece(start, piece)
		best, likeness := here.near(loop, at+start, first)
		if likeness < 0.98 {
			if b, l := here.near(loop, at+start, slip); l > likeness+0.01 {
				best = b
			}
		}
		at = best - start
		for c := range sums {
			sums[c].add(here.Channels[c], loop.Channels[c], best)
		}
	}
	for _, s := range sums {
		likeness = append(likeness, s.likeness())
	}
	return likeness
}

func (r *Recording) piece(start, n int) *Recording {
	p := &Recording{Rate: r.Rate}
	for _, c := range r.Channels {
		p.Channels = append(p.Channels, c[start:min(start+n, len(c))])
	}
	return p
}

// near is the place around at where all channels together are most alike.
func (r *Recording) near(loop *Recording, at, within int) (best int, likeness float64) {
	likeness = math.Inf(-1)
	for o := at - within; o <= at+within; o++ {
		var l float64
		for c := range r.Channels {
			l += alike(r.Channels[c], loop.Channels[c], o) / float64(len(r.Channels))
		}
		if l > likeness {
			best, likeness = o, l
		}
	}
	return best, likeness
}

// alike is the normalised correlation of a recording with the loop from a place on.
func alike(rec, ref []float64, at int) float64 {
	var s sum
	s.add(rec, ref, at)
	return s.likeness()
}

// sum is a correlation that goes on.
type sum struct{ dot, a, b float64 }

func (s *sum) add(rec, ref []float64, at int) {
	j := at % len(ref)
	if j < 0 {
		j += len(ref)
	}
	for _, x := range rec {
		y := ref[j]
		s.dot += x * y
		s.a += x * x
		s.b += y * y
		if j++; j == len(ref) {
			j = 0
		}
	}
}

func (s *sum) likeness() float64 { return s.dot / math.Sqrt(s.a*s.b+1e-18) }
