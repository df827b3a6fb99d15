package agent

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"liaison/internal/rtp"
)

// L16 mono in packets of four samples; a row of packets by number, and what stands in the file.
func TestRecordingKeepsTime(t *testing.T) {
	type packet struct {
		seq   uint16
		stamp uint32
		ssrc  uint32
		value int16
	}
	four := func(values ...int16) (out []int16) {
		for _, v := range values {
			out = append(out, v, v, v, v)
		}
		return out
	}
	rows := []struct {
		name string
		in   []packet
		want []int16
	}{
		{"packets in order", []packet{{1, 0, 1, 10}, {2, 4, 1, 20}}, four(10, 20)},
		{"a lost packet leaves silence", []packet{{1, 0, 1, 10}, {3, 8, 1, 30}}, four(10, 0, 30)},
		{"a late packet finds its place", []packet{{1, 0, 1, 10}, {3, 8, 1, 30}, {2, 4, 1, 20}}, four(10, 20, 30)},
		{"a duplicate is written once", []packet{{1, 0, 1, 10}, {1, 0, 1, 99}, {2, 4, 1, 20}}, four(10, 20)},
		{"the timestamp wraps", []packet{{1, 0xfffffffc, 1, 10}, {2, 0, 1, 20}}, four(10, 20)},
		{"another source goes on behind", []packet{{1, 0, 1, 10}, {900, 0x12345678, 2, 20}, {901, 0x1234567c, 2, 30}}, four(10, 20, 30)},
		{"a timestamp from nowhere does not blow up the file", []packet{{1, 0, 1, 10}, {2, 0x40000000, 1, 20}, {3, 0x40000004, 1, 30}}, four(10, 20, 30)},
		{"what was sent before the first is left out", []packet{{2, 4, 1, 20}, {1, 0, 1, 10}, {3, 8, 1, 30}}, four(20, 30)},
	}
	c := mustCodec(t, "L16/48000/1")
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "f.wav")
			r := receiver{listen: true, file: file}
			for _, p := range row.in {
				payload := bytes.Repeat([]byte{byte(p.value >> 8), byte(p.value)}, 4)
				r.take(&rtp.Packet{Sequence: p.seq, Timestamp: p.stamp, SSRC: p.ssrc, Payload: payload}, c, time.Unix(0, 0))
			}
			if err := r.close(); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got := littleEndian(b[wavHeader:]); !slices.Equal(got, row.want) {
				t.Errorf("%v, want %v", got, row.want)
			}
		})
	}
}

func TestARecordingThatCannotBeMadeIsAnErrorAtTheEnd(t *testing.T) {
	r := receiver{listen: true, file: filepath.Join(t.TempDir(), "no", "such", "folder.wav")}
	c := mustCodec(t, "PCMA")
	for n := range 3 {
		r.take(&rtp.Packet{Sequence: uint16(n), Payload: make([]byte, 160)}, c, time.Unix(0, 0))
	}
	if r.close() == nil || r.stats.Summary().Packets != 3 {
		t.Errorf("error %v, %+v", r.err, r.stats.Summary())
	}
}

func TestLevelOfNothingIsNoLevel(t *testing.T) {
	var l level
	if l.dBFS() != nil {
		t.Error("a level out of nothing")
	}
	l.add(make([]int16, 100))
	if got := *l.dBFS(); got != -120 {
		t.Errorf("digital silence is %v", got)
	}
}

func TestAnOpusPacketThatIsNoneIsNoAudio(t *testing.T) {
	d := newDecoder(mustCodec(t, "opus"))
	for _, payload := range [][]byte{nil, {0xff}, {3}, {31<<3 | 3, 63}, bytes.Repeat([]byte{0xfc, 0xff}, 500)} {
		if n := len(d.decode(nil, payload)); n%2 != 0 || n > maxOpus {
			t.Errorf("%x: %d samples", payload[:min(len(payload), 4)], n)
		}
	}
	s := mustRecordings(t).Stream(mustCodec(t, "opus"), 0)
	if n := len(d.decode(nil, s.AppendNext(nil))); n != 1920 {
		t.Errorf("%d samples", n)
	}
}
