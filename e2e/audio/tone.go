//go:build e2e

package audio

import (
	"fmt"
	"math"
	"time"
)

// window is the length of sound that is judged at once: short enough to see the loss of one or
// two packets, long enough to tell 440 Hz from 1000 Hz through G.711.
const window = 40 * time.Millisecond

// pure is the share of a window's energy that must lie in the tone. The quantising noise of G.711
// leaves more than 0.99 of a sine; a mixture of two equally loud ones leaves each half.
const pure = 0.8

// Tone is what was found of one frequency in a recording.
type Tone struct {
	Hertz float64
	Level float64       // of the windows where it was pure, dBFS of a full-scale sine
	Pure  time.Duration // how long it was heard alone
	Gap   time.Duration // the longest stretch without it, between its first and its last window
}

func (t Tone) String() string {
	return fmt.Sprintf("%g Hz for %v at %.1f dBFS, longest gap %v", t.Hertz, t.Pure, t.Level, t.Gap)
}

// Find looks for a sine in one channel.
func (r *Recording) Find(channel int, hertz float64) Tone {
	samples := r.Channels[channel]
	size := int(window.Seconds() * float64(r.Rate))
	found := Tone{Hertz: hertz, Level: math.Inf(-1)}
	var energy float64
	var heard, missing int
	for at := 0; at+size <= len(samples); at += size {
		tone, all := goertzel(samples[at:at+size], hertz, r.Rate)
		// Below -60 dBFS is silence, however pure it may be.
		if all < 1e-6 || tone < pure*all {
			if heard > 0 {
				missing++
			}
			continue
		}
		heard++
		energy += tone
		found.Gap = max(found.Gap, time.Duration(missing)*window)
		missing = 0
	}
	found.Pure = time.Duration(heard) * window
	if heard > 0 {
		found.Level = 10 * math.Log10(energy/float64(heard)/0.5)
	}
	return found
}

// goertzel gives the mean power of the component at hertz and of everything.
func goertzel(samples []float64, hertz float64, rate int) (tone, all float64) {
	w := 2 * math.Pi * hertz / float64(rate)
	coeff := 2 * math.Cos(w)
	var s1, s2 float64
	for _, x := range samples {
		s1, s2 = x+coeff*s1-s2, s1
		all += x * x
	}
	n := float64(len(samples))
	power := s1*s1 + s2*s2 - coeff*s1*s2
	return 2 * power / (n * n), all / n
}
