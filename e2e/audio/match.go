//go:build e2e

package audio

import "math"

// Match says where in a loop a recording begins and how alike the two are from there, channel by
// channel: 1 is the same but for level, 0 is unrelated. Both must have one rate. The recording may
// run over the end of the loop. The place is found by the first channel.
func Match(recording, loop *Recording) (at int, likeness []float64) {
	rec, ref := recording.Channels[0], loop.Channels[0]
	var energy float64 // of the loop under the recording
	for i := range rec {
		energy += ref[i%len(ref)] * ref[i%len(ref)]
	}
	double := append(append([]float64{}, ref...), ref...)
	best := math.Inf(-1)
	for o := range ref {
		var dot float64
		for i, x := range rec[:min(len(rec), len(double)-o)] {
			dot += x * double[o+i]
		}
		// Where the loop is silent, nothing is alike.
		if l := dot / math.Sqrt(energy+1e-9); l > best {
			at, best = o, l
		}
		first, next := ref[o], ref[(o+len(rec))%len(ref)]
		energy += next*next - first*first
	}
	for c := range recording.Channels {
		likeness = append(likeness, alike(recording.Channels[c], loop.Channels[c], at))
	}
	return at, likeness
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
