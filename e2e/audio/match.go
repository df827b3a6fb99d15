//go:build e2e

package audio

import "math"

// Match says where in a loop a recording begins and how alike the two are from there: 1 is the
// same but for level, 0 is unrelated, whatever delay a codec added. Both must have one rate; the
// first channel of each is compared. The recording may run over the end of the loop.
func Match(recording, loop *Recording) (at int, likeness float64) {
	rec, ref := recording.Channels[0], loop.Channels[0]
	likeness = -1
	var recEnergy float64
	for _, x := range rec {
		recEnergy += x * x
	}
	// The energy of the loop under the recording slides along with it.
	var refEnergy float64
	for i := range rec {
		refEnergy += ref[i%len(ref)] * ref[i%len(ref)]
	}
	double := append(append([]float64{}, ref...), ref...)
	for o := range ref {
		var dot float64
		for i, x := range rec {
			if o+i >= len(double) {
				break
			}
			dot += x * double[o+i]
		}
		if l := dot / math.Sqrt(recEnergy*refEnergy); l > likeness {
			at, likeness = o, l
		}
		first, next := ref[o], ref[(o+len(rec))%len(ref)]
		refEnergy += next*next - first*first
	}
	return at, likeness
}
