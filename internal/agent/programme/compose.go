//go:build ignore

// compose puts the programme of the test number together: the announcements that build.sh had spoken, level
// and identification tones, frequency steps, and a piece of music that it plays itself.
//
//	go run compose.go FOLDER    reads FOLDER/*.wav, writes FOLDER/stereo.wav and FOLDER/mono.wav
package main

import (
	"encoding/binary"
	"fmt"
	"log"
	"math"
	"math/rand"
	"os"
	"path/filepath"
)

const (
	rate   = 48000
	length = 28.8 // seconds: whole frames of 20 ms (Opus) and of 24 ms (Layer II)

	alignment = -18.0 // dBFS, a sine: EBU R 68
	peak      = -9.0  // dBFS, the permitted maximum
)

// tape is a stereo recording in progress.
type tape struct{ left, right []float64 }

func newTape(seconds float64) *tape {
	n := samples(seconds)
	return &tape{make([]float64, n), make([]float64, n)}
}

func samples(seconds float64) int { return int(math.Round(seconds * rate)) }
func gain(db float64) float64     { return math.Pow(10, db/20) }

// mix adds mono sound at a time; pan goes from -1, left, to 1, right, with equal power between.
func (t *tape) mix(at float64, sound []float64, level, pan float64) {
	angle := (pan + 1) * math.Pi / 4
	t.add(at, sound, level*math.Cos(angle), level*math.Sin(angle))
}

func (t *tape) add(at float64, sound []float64, left, right float64) {
	from := samples(at)
	for i, v := range sound {
		if n := from + i; n < len(t.left) {
			t.left[n] += v * left
			t.right[n] += v * right
		}
	}
}

func (t *tape) lay(at float64, from *tape) {
	t.add(at, from.left, 1, 0)
	t.add(at, from.right, 0, 1)
}

func main() {
	log.SetFlags(0)
	folder := os.Args[1]
	voice := func(name string) []float64 { return read(filepath.Join(folder, name+".wav")) }

	out := newTape(length)
	at := 0.25
	speak := func(name string, left, right, pause float64) {
		v := voice(name)
		out.add(at, v, left, right)
		fmt.Printf("%6.2f s  %s\n", at, name)
		at += float64(len(v))/rate + pause
	}
	speak("ident.fr", 1, 1, 0.35)
	speak("ident.en", 1, 1, 0.4)

	fmt.Printf("%6.2f s  GLITS\n", at)
	out.lay(at, glits())
	at += 4.3

	speak("left.fr", 1, 0, 0.12)
	speak("left.en", 1, 0, 0.3)
	speak("right.fr", 0, 1, 0.12)
	speak("right.en", 0, 1, 0.35)

	for _, f := range []float64{100, 1000, 10000} {
		fmt.Printf("%6.2f s  %g Hz\n", at, f)
		out.add(at, tone(f, 1), 1, 1)
		at += 1.05
	}
	at += 0.2

	fmt.Printf("%6.2f s  music\n", at)
	if rest := length - at; rest < 8 {
		log.Fatalf("only %.2f s are left for the music", rest)
	}
	out.lay(at, music(length-at-0.25))

	mono := make([]float64, len(out.left))
	for i := range mono {
		mono[i] = (out.left[i] + out.right[i]) / 2
	}
	write(filepath.Join(folder, "stereo.wav"), out.left, out.right)
	write(filepath.Join(folder, "mono.wav"), mono)
}

// tone is a sine at alignment level with edges of 5 ms, so that it does not click.
func tone(hertz, seconds float64) []float64 {
	out := make([]float64, samples(seconds))
	edge := samples(0.005)
	for i := range out {
		v := gain(alignment) * math.Sin(2*math.Pi*hertz*float64(i)/rate)
		if n := min(i, len(out)-1-i); n < edge {
			v *= 0.5 - 0.5*math.Cos(math.Pi*float64(n)/float64(edge))
		}
		out[i] = v
	}
	return out
}

// glits is four seconds of the identification that studios know: 1 kHz at alignment level on both, the left
// side interrupted once, then the right side twice.
func glits() *tape {
	t := newTape(4)
	part := func(from, to float64, left, right float64) { t.add(from, tone(1000, to-from), left, right) }
	part(0.25, 4, 1, 0)
	part(0, 0.5, 0, 1)
	part(0.75, 1, 0, 1)
	part(1.25, 4, 0, 1)
	return t
}

// music plays four bars and a last chord into the given time: plucked strings over an electric piano, bass,
// a little percussion and a bell melody, wide in stereo, with a room around it.
func music(seconds float64) *tape {
	noise := rand.New(rand.NewSource(15000))
	const ring = 1.8 // the last chord
	beat := (seconds - ring) / 16
	dry, wet := newTape(seconds), newTape(seconds)
	play := func(at float64, sound []float64, level, pan, room float64) {
		dry.mix(at, sound, level, pan)
		wet.mix(at, sound, level*room, -pan*0.3)
	}

	bars := []struct {
		bass  float64
		chord []float64
		arp   []int
	}{
		{38, []float64{54, 57, 61, 64}, []int{0, 2, 3, 1, 2, 3, 1, 2}}, // Dmaj9
		{35, []float64{54, 57, 59, 62}, []int{0, 2, 3, 1, 2, 0, 3, 2}}, // Bm7
		{43, []float64{54, 55, 59, 62}, []int{3, 2, 1, 0, 2, 3, 1, 2}}, // Gmaj7
		{45, []float64{52, 55, 57, 62}, []int{0, 1, 2, 3, 2, 3, 1, 0}}, // A7sus4
	}
	melody := []struct{ at, note float64 }{
		{0, 78}, {1.5, 81}, {2, 76}, {3, 73},
		{4, 74}, {5.5, 78}, {6, 73}, {7, 71},
		{8, 74}, {9, 71}, {9.5, 79}, {11, 78},
		{12, 76}, {13.5, 74}, {14, 73}, {15, 76}, {16, 74},
	}
	for b, bar := range bars {
		at := float64(b*4) * beat
		for i, note := range bar.chord {
			play(at, piano(hertz(note), 4*beat), 0.11, -0.5+float64(i)*0.33, 0.5)
		}
		for i, n := range bar.arp {
			pan := 0.75
			if i%2 == 0 {
				pan = -0.75
			}
			play(at+float64(i)*beat/2, pluck(noise, hertz(bar.chord[n]+12), 1.2), 0.22, pan, 0.6)
		}
		for _, n := range []struct{ at, note float64 }{{0, 0}, {1.5, 0}, {2.5, 7}, {3, 0}} {
			play(at+n.at*beat, bass(hertz(bar.bass+n.note), beat*0.9), 0.3, 0, 0)
		}
		for i := range 4 {
			q := at + float64(i)*beat
			if i%2 == 0 {
				play(q, kick(), 0.5, 0, 0.05)
			} else {
				play(q, brush(noise, 0.16), 0.12, 0.1, 0.5)
			}
			play(q, brush(noise, 0.03), 0.07, 0.6, 0.2)
			play(q+beat/2, brush(noise, 0.045), 0.05, -0.6, 0.2)
		}
	}
	for _, n := range melody {
		play(n.at*beat, bell(hertz(n.note), 1.6), 0.16, 0.2*math.Sin(n.at), 0.8)
	}
	end := 16 * beat
	for i, note := range []float64{50, 57, 61, 64, 66, 69} {
		play(end+float64(i)*0.035, pluck(noise, hertz(note), ring), 0.24, -0.8+float64(i)*0.32, 0.7)
		play(end, piano(hertz(note), ring), 0.08, 0.5-float64(i)*0.2, 0.6)
	}
	play(end, bass(hertz(38), ring*0.8), 0.3, 0, 0)
	play(end, kick(), 0.5, 0, 0.05)

	dry.add(0, room(wet.left, 0), 0.35, 0)
	dry.add(0, room(wet.right, 23), 0, 0.35)

	// Soft limiting, then the permitted maximum; the last 0.4 s fade out.
	loudest := 0.0
	for i := range dry.left {
		for _, ch := range [][]float64{dry.left, dry.right} {
			ch[i] = math.Tanh(ch[i] * 1.3)
			if n := len(ch) - i; n < samples(0.4) {
				ch[i] *= 0.5 - 0.5*math.Cos(math.Pi*float64(n)/float64(samples(0.4)))
			}
			loudest = max(loudest, math.Abs(ch[i]))
		}
	}
	out := newTape(seconds)
	out.add(0, dry.left, gain(peak)/loudest, 0)
	out.add(0, dry.right, 0, gain(peak)/loudest)
	return out
}

func hertz(note float64) float64 { return 440 * math.Pow(2, (note-69)/12) }

// sound makes a note: f gets the time since its start; the last 20 ms fade.
func sound(seconds float64, f func(t float64) float64) []float64 {
	out := make([]float64, samples(seconds))
	for i := range out {
		out[i] = f(float64(i)/rate) * min(1, float64(len(out)-i)/(0.02*rate))
	}
	return out
}

// pluck is a string after Karplus and Strong: a burst of noise that runs round a delay line.
func pluck(noise *rand.Rand, f, seconds float64) []float64 {
	n := rate/f - 0.5
	line := make([]float64, int(n))
	frac := n - float64(len(line))
	smooth, mean := 0.0, 0.0
	for i := range line {
		smooth += 0.55 * (noise.Float64()*2 - 1 - smooth)
		line[i] = smooth
		mean += smooth / float64(len(line))
	}
	for i := range line {
		line[i] -= mean // or the string leaves a direct current behind
	}
	last, tuned, i := 0.0, 0.0, 0
	return sound(seconds, func(float64) float64 {
		v := line[i]
		low := 0.996 * (v + last) / 2
		last = v
		// An all-pass for the fraction of a sample, or the strings are out of tune.
		c := (1 - frac) / (1 + frac)
		next := c*low + tuned
		tuned = low - c*next
		line[i] = next
		i = (i + 1) % len(line)
		return v
	})
}

func piano(f, seconds float64) []float64 {
	return sound(seconds, func(t float64) float64 {
		w := 2 * math.Pi * f * t
		tine := math.Exp(-t*5) * math.Sin(w*14) * 0.25
		return math.Exp(-t*1.1) * min(1, t*200) * math.Sin(w+1.1*math.Exp(-t*2.2)*math.Sin(w)+tine)
	})
}

func bell(f, seconds float64) []float64 {
	return sound(seconds, func(t float64) float64 {
		w := 2 * math.Pi * f * t
		return math.Exp(-t*3) * min(1, t*400) * (math.Sin(w) + 0.35*math.Exp(-t*4)*math.Sin(w*4) + 0.12*math.Exp(-t*9)*math.Sin(w*9.8))
	})
}

func bass(f, seconds float64) []float64 {
	return sound(seconds, func(t float64) float64 {
		w := 2 * math.Pi * f * t
		return math.Exp(-t*1.5) * min(1, t*120) * (math.Sin(w) + 0.4*math.Sin(2*w) + 0.15*math.Sin(3*w))
	})
}

func kick() []float64 {
	return sound(0.25, func(t float64) float64 {
		return math.Exp(-t*18) * math.Sin(2*math.Pi*(48*t+1.9*(1-math.Exp(-t*35))))
	})
}

func brush(noise *rand.Rand, decay float64) []float64 {
	a, b := 0.0, 0.0
	return sound(decay*5, func(t float64) float64 {
		v := noise.Float64()*2 - 1
		a += 0.35 * (v - a)
		b += 0.6 * (v - a - b)
		return math.Exp(-t/decay) * min(1, t*300) * b
	})
}

// room is a small reverberation after Schroeder; spread makes the two sides differ.
func room(in []float64, spread int) []float64 {
	out := make([]float64, len(in))
	for _, n := range []int{1557, 1617, 1491, 1422, 1277, 1356} {
		line, i, damp := make([]float64, n+spread), 0, 0.0
		for k, v := range in {
			y := line[i]
			damp += 0.6 * (y - damp)
			line[i] = v + 0.82*damp
			i = (i + 1) % len(line)
			out[k] += y / 4
		}
	}
	for _, n := range []int{225, 556, 441} {
		line, i := make([]float64, n+spread), 0
		for k, v := range out {
			y := line[i]
			line[i] = v + 0.5*y
			out[k] = y - 0.5*v
			i = (i + 1) % len(line)
		}
	}
	return out
}

// read takes a 16-bit mono WAV at our rate.
func read(name string) []float64 {
	b, err := os.ReadFile(name)
	if err != nil {
		log.Fatal(err)
	}
	for at := 12; at+8 <= len(b); {
		size := int(binary.LittleEndian.Uint32(b[at+4:]))
		if string(b[at:at+4]) == "data" {
			data := b[at+8 : min(at+8+size, len(b))]
			out := make([]float64, len(data)/2)
			for i := range out {
				out[i] = float64(int16(binary.LittleEndian.Uint16(data[2*i:]))) / 32768
			}
			return out
		}
		at += 8 + size
	}
	log.Fatalf("%s: no audio in it", name)
	return nil
}

func write(name string, channels ...[]float64) {
	n := len(channels)
	var b []byte
	le := binary.LittleEndian
	size := uint32(len(channels[0]) * n * 2)
	b = le.AppendUint32(append(b, "RIFF"...), 36+size)
	b = le.AppendUint32(append(b, "WAVEfmt "...), 16)
	b = le.AppendUint16(le.AppendUint16(b, 1), uint16(n))
	b = le.AppendUint32(le.AppendUint32(b, rate), uint32(rate*n*2))
	b = le.AppendUint16(le.AppendUint16(b, uint16(n*2)), 16)
	b = le.AppendUint32(append(b, "data"...), size)
	for i := range channels[0] {
		for _, ch := range channels {
			b = le.AppendUint16(b, uint16(int16(math.Round(ch[i]*32767))))
		}
	}
	if err := os.WriteFile(name, b, 0o644); err != nil {
		log.Fatal(err)
	}
}
