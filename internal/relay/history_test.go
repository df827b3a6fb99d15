package relay

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestHistory(t *testing.T) {
	const sec = time.Second
	rows := []struct {
		name    string
		samples []Sample
	}{
		{"nothing", nil},
		{"a steady stream", []Sample{
			{At: 0, Span: sec, Packets: 50, Bytes: 8000}, {At: sec, Span: sec, Packets: 50, Bytes: 8000}, {At: 2 * sec, Span: sec, Packets: 50, Bytes: 8000}}},
		{"silence", []Sample{{At: 0, Span: sec}, {At: sec, Span: sec}}},
		{"faults", []Sample{
			{At: 0, Span: sec, Packets: 48, Bytes: 7680, Lost: 2, Bursts: 1, Duplicates: 300, Reordered: 4, Jitter: 400 * time.Microsecond},
			{At: sec, Span: sec, Packets: 48, Bytes: 7680, Lost: 2, Bursts: 1, Duplicates: 300, Reordered: 4, Jitter: 400 * time.Microsecond},
			{At: 2 * sec, Span: sec, Packets: 48, Bytes: 7680, Jitter: 400 * time.Microsecond}}},
		{"a program that stood still", []Sample{
			{At: 0, Span: sec, Packets: 50}, {At: sec, Span: 7 * sec, Packets: 350}, {At: 8 * sec, Span: sec, Packets: 350}, {At: 9 * sec, Span: sec, Packets: 350}}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			var h History
			for _, s := range row.samples {
				h.Append(s)
			}
			if d := cmp.Diff(row.samples, h.Samples()); d != "" {
				t.Error(d)
			}
			got, err := DecodeHistory(h.AppendTo(nil))
			if d := cmp.Diff(row.samples, got); d != "" || err != nil {
				t.Errorf("decoded: %v %s", err, d)
			}
		})
	}

	t.Run("a session that was restored begins where it was", func(t *testing.T) {
		var h History
		h.start(100*time.Second + 300*time.Millisecond)
		h.Append(Sample{Span: sec, Packets: 50})
		if d := cmp.Diff([]Sample{{At: 100 * sec, Span: sec, Packets: 50}}, h.Samples()); d != "" {
			t.Error(d)
		}
	})
}

func TestHistoryGetsCoarserWithAge(t *testing.T) {
	var h History
	for h.end < 25*time.Hour {
		h.Append(Sample{Span: h.step(), Packets: 50})
	}
	want := map[time.Duration]int{time.Second: 3600, 10 * time.Second: 23 * 360, time.Minute: 60}
	got := map[time.Duration]int{}
	at := time.Duration(0)
	for _, s := range h.Samples() {
		if s.At != at {
			t.Fatalf("%v and not %v", s.At, at)
		}
		at += s.Span
		got[s.Span]++
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	size := func(sample func(i uint64) Sample, long time.Duration) int {
		var h History
		for i := uint64(0); h.end < long; i++ {
			s := sample(i)
			s.Span = h.step()
			h.Append(s)
		}
		n := 0
		for _, p := range h.parts {
			n += cap(p.b)
		}
		all := h.Samples()
		if last := all[len(all)-1]; last.At+last.Span < long {
			t.Error("the newest is gone")
		}
		return n
	}
	steady := func(i uint64) Sample {
		return Sample{Packets: 50, Bytes: 8000, Jitter: time.Duration(1+i%5) * 50 * time.Microsecond}
	}
	worst := func(i uint64) Sample {
		return Sample{Packets: 1e5 + i, Bytes: 1e8 + i, Lost: 1e5, Bursts: 1e5, Duplicates: 1e5, Reordered: 1e5, Jitter: time.Duration(1+i%5) * 50 * time.Microsecond}
	}
	for _, row := range []struct {
		name   string
		sample func(uint64) Sample
		long   time.Duration
		max    int
	}{
		{"an hour of a steady stream", steady, time.Hour, 10 << 10},
		{"a day of a steady stream", steady, 24 * time.Hour, 35 << 10},
		{"a year of a steady stream", steady, 365 * 24 * time.Hour, 120 << 10},
		{"a year of the worst", worst, 365 * 24 * time.Hour, 450 << 10},
	} {
		if n := size(row.sample, row.long); n > row.max {
			t.Errorf("%s takes %d bytes", row.name, n)
		}
	}
}

func TestJitterInAByte(t *testing.T) {
	for d := time.Duration(0); d < 3*time.Minute; d += max(time.Microsecond, d/50) {
		got := unpackJitter(packJitter(d))
		if got > d || d-got > max(jitterUnit, d/8) {
			t.Fatalf("%v becomes %v", d, got)
		}
		if again := unpackJitter(packJitter(got)); again != got {
			t.Fatalf("%v becomes %v", got, again)
		}
	}
	for b := range 256 {
		if got := packJitter(unpackJitter(byte(b))); got != byte(b) && b < 0xff {
			t.Errorf("%#x becomes %#x", b, got)
		}
	}
}

// Whatever is read as a history has samples one after the other, and a history reads what it has written.
func FuzzHistory(f *testing.F) {
	var h History
	h.Append(Sample{Span: time.Second, Packets: 50, Bytes: 8000, Lost: 1, Bursts: 1})
	for range 300 {
		h.Append(Sample{Span: time.Second, Packets: 50, Bytes: 8000})
	}
	f.Add(h.AppendTo(nil))
	f.Add([]byte{historyVersion, 0, 1, 3, hasVolume | hasSpan, 50, 100, 7})
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := DecodeHistory(b)
		if err != nil {
			return
		}
		var h History
		for _, s := range all {
			if s.Span < 0 || s.At < 0 {
				t.Fatalf("%+v", s)
			}
			h.Append(s)
		}
		again, err := DecodeHistory(h.AppendTo(nil))
		if err != nil {
			t.Fatal(err)
		}
		packets := func(all []Sample) (sum uint64) {
			for _, s := range all {
				if s.Span > 0 {
					sum += s.Packets
				}
			}
			return sum
		}
		if h.end < middleUntil && packets(all) != packets(again) {
			t.Errorf("%d packets and then %d", packets(all), packets(again))
		}
	})
}
