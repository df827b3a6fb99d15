//go:build e2e

package audio

import (
	"math"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"
)

func tone(t *testing.T, rate int, seconds float64, hertz ...float64) *Recording {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tone.wav")
	if err := WriteTone(path, rate, seconds, 0.5, hertz...); err != nil {
		t.Fatal(err)
	}
	r, err := ReadWAV(path)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestToneIsFoundInItsOwnChannelOnly(t *testing.T) {
	r := tone(t, 48000, 2, 440, 1000)
	if got := r.Find(0, 440); got.Pure < 1900*time.Millisecond || math.Abs(got.Level+6) > 0.1 || got.Gap != 0 {
		t.Errorf("left: %v", got)
	}
	if got := r.Find(0, 1000); got.Pure != 0 {
		t.Errorf("the right channel's tone in the left: %v", got)
	}
	if got := r.Find(1, 1000); got.Pure < 1900*time.Millisecond {
		t.Errorf("right: %v", got)
	}
}

func TestHoleIsAGap(t *testing.T) {
	r := tone(t, 8000, 2, 440)
	clear(r.Channels[0][8000:9000])
	if got := r.Find(0, 440); got.Gap < 80*time.Millisecond || got.Gap > 160*time.Millisecond {
		t.Errorf("a hole of 125 ms: %v", got)
	}
}

func TestMixtureIsNotPure(t *testing.T) {
	r, other := tone(t, 8000, 1, 440), tone(t, 8000, 1, 1000)
	for i, x := range other.Channels[0] {
		r.Channels[0][i] += x
	}
	if got := r.Find(0, 440); got.Pure != 0 {
		t.Errorf("two tones at once: %v", got)
	}
}

func TestSilenceHasNoTone(t *testing.T) {
	r := &Recording{Rate: 8000, Channels: [][]float64{make([]float64, 8000)}}
	if got := r.Find(0, 440); got.Pure != 0 {
		t.Errorf("silence: %v", got)
	}
}

func TestMatchFindsWhereInTheLoopARecordingBegan(t *testing.T) {
	noise := rand.New(rand.NewPCG(1, 2))
	loop := &Recording{Rate: 2000, Channels: [][]float64{make([]float64, 8000)}}
	for i := range loop.Channels[0] {
		loop.Channels[0][i] = noise.Float64() - 0.5
	}
	cut := append(append([]float64{}, loop.Channels[0][6000:]...), loop.Channels[0][:2000]...)
	at, likeness := Match(&Recording{Rate: 2000, Channels: [][]float64{cut}}, loop)
	if at != 6000 || likeness < 0.999 {
		t.Errorf("found at %d with likeness %.3f, want 6000 and 1", at, likeness)
	}
	for i := range cut {
		cut[i] = noise.Float64() - 0.5
	}
	if _, likeness := Match(&Recording{Rate: 2000, Channels: [][]float64{cut}}, loop); likeness > 0.2 {
		t.Errorf("other noise has likeness %.3f", likeness)
	}
}

func TestFollowForgivesAHoleAndNothingElse(t *testing.T) {
	noise := rand.New(rand.NewPCG(3, 4))
	loop := &Recording{Rate: 1000, Channels: [][]float64{make([]float64, 20000), make([]float64, 20000)}}
	for c := range loop.Channels {
		for i := range loop.Channels[c] {
			loop.Channels[c][i] = noise.Float64() - 0.5
		}
	}
	left, right := loop.Channels[0], loop.Channels[1]
	cut := func(c []float64) []float64 { return append(append([]float64{}, c[12000:15500]...), c[15580:19000]...) }
	for _, row := range []struct {
		name        string
		left, right []float64
		alike       bool
	}{
		{"the same", left[12000:19000], right[12000:19000], true},
		{"80 ms are missing", cut(left), cut(right), true},
		{"the sides are swapped", right[12000:19000], left[12000:19000], false},
	} {
		for c, l := range Follow(&Recording{Rate: 1000, Channels: [][]float64{row.left, row.right}}, loop, 12003) {
			if (l > 0.9) != row.alike {
				t.Errorf("%s: channel %d is alike by %.3f", row.name, c, l)
			}
		}
	}
}
