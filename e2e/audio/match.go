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

// Near looks more closely around a place, channel by channel at a place common to all: a codec's
// delay is not a whole number of samples at a low rate.
func Near(recording, loop *Recording, at, within int) (likeness []float64) {
	best := math.Inf(-1)
	length := len(loop.Channels[0])
	for o := at - within; o <= at+within; o++ {
		var here []float64
		var sum float64
		for c := range recording.Channels {
			l := alike(recording.Channels[c], loop.Channels[c], (o+length)%length)
			here = append(here, l)
			sum += l
		}
		if sum > best {
			best, likeness = sum, here
		}
	}
	return likeness
}

// alike is the normalised correlation of a recording with the loop from a place on.
func alike(rec, ref []float64, at int) float64 {
	var dot, a, b float64
	for i, x := range rec {
		y := ref[(at+i)%len(ref)]
		dot += x * y
		a += x * x
		b += y * y
	}
	return dot / math.Sqrt(a*b+1e-18)
}
