package agent

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"liaison/internal/rtp"
)

func mustCodec(t testing.TB, name string) Codec {
	t.Helper()
	c, err := ParseCodec(name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// opened is unpacked once for all tests: under the race detector that takes seconds.
var opened = sync.OnceValues(func() (*Recordings, error) {
	r, err := OpenRecordings()
	if err == nil {
		r.mono()
	}
	return r, err
})

func mustRecordings(t testing.TB) *Recordings {
	t.Helper()
	r, err := opened()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestStreamsKeepTime(t *testing.T) {
	p := mustRecordings(t)
	rows := []struct {
		codec string
		ptime time.Duration
		ticks uint32
		bytes int
	}{
		{"PCMA", 20 * time.Millisecond, 160, 160},
		{"PCMU", 4 * time.Millisecond, 32, 32},
		{"G722", 20 * time.Millisecond, 160, 160}, // 320 samples, counted as 160: RFC 3551 4.5.2
		{"L16/48000/2", 4 * time.Millisecond, 192, 768},
		{"L16/48000/1", 12 * time.Millisecond, 576, 1152},
		{"MPA", 24 * time.Millisecond, 2160, 772},
	}
	for _, row := range rows {
		s := p.Stream(mustCodec(t, row.codec), row.ptime)
		if got := len(s.AppendNext(nil)); s.Ptime != row.ptime || s.Ticks != row.ticks || got != row.bytes {
			t.Errorf("%s: %v, %d ticks, %d bytes", row.codec, s.Ptime, s.Ticks, got)
		}
	}
	s := p.Stream(mustCodec(t, "opus"), 0)
	d := newDecoder(mustCodec(t, "opus"))
	for range 1440 {
		b := s.AppendNext(nil)
		if n := len(d.decode(nil, b)); n != 2*960 || s.Ticks != 960 || len(b) > maxPayload {
			t.Fatalf("an Opus packet of %d samples and %d bytes", n, len(b))
		}
	}
}

// Every stream goes round after the programme's length and gives the very same octets.
func TestStreamsLoop(t *testing.T) {
	p := mustRecordings(t)
	for _, c := range Codecs() {
		s := p.Stream(c, 0)
		var first []byte
		n := int(programmeLength / s.Ptime)
		for range n {
			first = s.AppendNext(first)
		}
		var second []byte
		for range n {
			second = s.AppendNext(second)
		}
		if !bytes.Equal(first, second) {
			t.Errorf("%s: the second round differs", c)
		}
	}
	// A packet time that does not divide the loop runs over its end.
	s := p.Stream(mustCodec(t, "PCMA"), 7*time.Millisecond)
	var out []byte
	for len(out) < 3*len(p.pcma) {
		out = s.AppendNext(out)
	}
	if !bytes.Equal(out[:2*len(p.pcma)], append(slices.Clone(p.pcma), p.pcma...)) {
		t.Error("octets are lost at the joint")
	}
}

func TestAppendNextDoesNotAllocate(t *testing.T) {
	p := mustRecordings(t)
	for _, c := range Codecs() {
		s := p.Stream(c, 0)
		buf := make([]byte, 0, 2000)
		if n := testing.AllocsPerRun(100, func() { s.AppendNext(buf) }); n != 0 {
			t.Errorf("%s: %v allocations a packet", c, n)
		}
	}
}

func TestAlignmentToneReadsMinus18(t *testing.T) {
	p := mustRecordings(t)
	for _, name := range []string{"PCMA", "PCMU", "G722", "L16/48000/2", "L16/48000/1"} {
		c := mustCodec(t, name)
		s := p.Stream(c, 4*time.Millisecond)
		d := newDecoder(c)
		var l level
		for at := time.Duration(0); at < 12*time.Second; at += s.Ptime {
			samples := d.decode(nil, s.AppendNext(nil))
			if at >= 10*time.Second { // within the last part of GLITS: both sides
				l.add(samples)
			}
		}
		if got := *l.dBFS(); math.Abs(got+18) > 0.15 {
			t.Errorf("%s: %v dBFS", name, got)
		}
	}
}

func TestG722DecoderAgreesWithFFmpeg(t *testing.T) {
	p := mustRecordings(t)
	want := ffmpegDecode(t, p.g722, "g722", 16000, 1)
	got := (&g722Decoder{}).decode(nil, p.g722)
	if !slices.Equal(got, want[:min(len(want), len(got))]) {
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("sample %d is %d, ffmpeg says %d", i, got[i], want[i])
			}
		}
	}
}

func TestG711TablesAgreeWithFFmpeg(t *testing.T) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for format, table := range map[string][256]int16{"alaw": alawTable(), "mulaw": mulawTable()} {
		if want := ffmpegDecode(t, all, format, 8000, 1); !slices.Equal(table[:], want) {
			t.Errorf("%s: %v", format, table)
		}
	}
}

// The whole way of the audio: packets of the programme into a receiver's recording, ffmpeg decodes the file,
// and what comes out is the programme in its linear form: same place, same shape, same level.
func TestEveryCodecCarriesTheProgramme(t *testing.T) {
	needFFmpeg(t)
	p := mustRecordings(t)
	linear := func(stereo bool, rate int) []int16 {
		b, channels := p.mono(), 1
		if stereo {
			b, channels = p.stereo(), 2
		}
		if rate == 48000 {
			return newDecoder(mustCodec(t, "L16")).decode(nil, b)
		}
		return ffmpegDecode(t, b, "s16be", 48000, channels, "-ar", strconv.Itoa(rate))
	}
	rows := []struct {
		codec       string
		correlation float64
	}{
		{"L16/48000/2", 0.999999}, {"L16/48000/1", 0.999999},
		{"PCMA", 0.998}, {"PCMU", 0.998}, {"G722", 0.995},
		{"opus", 0.99}, {"MPA", 0.99},
	}
	for _, row := range rows {
		t.Run(row.codec, func(t *testing.T) {
			t.Parallel()
			c := mustCodec(t, row.codec)
			stereo := c.Channels == 2 || c.coding == codingMPA
			channels := 1
			if stereo {
				channels = 2
			}
			file := filepath.Join(t.TempDir(), "received")
			r := receiver{listen: true, file: file}
			s := p.Stream(c, 0)
			at := time.Unix(0, 0)
			var stamp uint32 = 0xfffff000
			for n := range int(programmeLength / s.Ptime) {
				packet := rtp.Packet{Sequence: uint16(n), Timestamp: stamp, Payload: s.AppendNext(nil)}
				r.take(&packet, c, at)
				stamp, at = stamp+s.Ticks, at.Add(s.Ptime)
			}
			if err := r.close(); err != nil {
				t.Fatal(err)
			}
			if m := r.stats.Summary(); m.Lost != 0 || m.Jitter > time.Millisecond {
				t.Errorf("%+v", m)
			}
			out, err := exec.Command("ffmpeg", "-v", "error", "-i", file, "-f", "s16le",
				"-ac", strconv.Itoa(channels), "-ar", strconv.Itoa(c.rate()), "-").Output()
			if err != nil {
				t.Fatalf("ffmpeg cannot read the recording: %v", err)
			}
			got, want := littleEndian(out), linear(stereo, c.rate())
			lag := align(got, want, channels)
			correlation, gain := compare(got, want, lag*channels)
			t.Logf("shifted by %d samples, correlation %.5f, level %+.2f dB", lag, correlation, gain)
			if correlation < row.correlation {
				t.Errorf("correlation %.5f, want %.4f", correlation, row.correlation)
			}
			if math.Abs(gain) > 0.2 {
				t.Errorf("level differs by %.2f dB", gain)
			}
			if d := len(want)/channels - len(got)/channels; d < -2000 || d > 2000 {
				t.Errorf("%d samples in, %d out", len(want), len(got))
			}
		})
	}
}

// align finds how far got is shifted against want, in frames, by a second of the music.
func align(got, want []int16, channels int) int {
	const reach = 3000
	from := len(want) / channels * 3 / 4
	n := 16000
	best, found := math.Inf(-1), 0
	for lag := -reach; lag <= reach; lag++ {
		sum := 0.0
		for i := range n {
			sum += float64(want[(from+i)*channels]) * float64(got[(from+i+lag)*channels])
		}
		if sum > best {
			best, found = sum, lag
		}
	}
	return found
}

func compare(got, want []int16, lag int) (correlation, gain float64) {
	var gg, ww, gw float64
	for i := range want {
		if i+lag < 0 || i+lag >= len(got) {
			continue
		}
		g, w := float64(got[i+lag]), float64(want[i])
		gg, ww, gw = gg+g*g, ww+w*w, gw+g*w
	}
	return gw / math.Sqrt(gg*ww), 10 * math.Log10(gg/ww)
}

func needFFmpeg(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("ffmpeg is missing: apt install ffmpeg")
		}
		t.Skip("SKIPPED, not tested against the reference: ffmpeg is missing (apt install ffmpeg)")
	}
}

func ffmpegDecode(t *testing.T, in []byte, format string, rate, channels int, out ...string) []int16 {
	t.Helper()
	needFFmpeg(t)
	args := []string{"-v", "error", "-f", format}
	if format != "g722" {
		args = append(args, "-ar", strconv.Itoa(rate), "-ac", strconv.Itoa(channels))
	}
	args = append(append(args, "-i", "-"), out...)
	cmd := exec.Command("ffmpeg", append(args, "-f", "s16le", "-")...)
	cmd.Stdin = bytes.NewReader(in)
	b, err := cmd.Output()
	if err != nil {
		t.Fatalf("ffmpeg: %v", err)
	}
	return littleEndian(b)
}

func littleEndian(b []byte) []int16 {
	out := make([]int16, len(b)/2)
	for i := range out {
		out[i] = int16(binary.LittleEndian.Uint16(b[2*i:]))
	}
	return out
}
