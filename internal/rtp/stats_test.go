package rtp

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var epoch = time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)

// feed gives packets of 160 bytes that left every 20 ms and arrived just so.
func feed(s *Stats, ssrc uint32, seqs ...int) {
	for _, n := range seqs {
		p := Packet{Sequence: uint16(n), Timestamp: uint32(n * 160), SSRC: ssrc, Payload: make([]byte, 160)}
		s.Add(&p, 8000, epoch.Add(time.Duration(n)*20*time.Millisecond))
	}
}

func sequence(from, to int, without ...int) []int {
	var out []int
next:
	for n := from; n <= to; n++ {
		for _, w := range without {
			if n == w {
				continue next
			}
		}
		out = append(out, n)
	}
	return out
}

func TestStatsCountsTheOrder(t *testing.T) {
	type counts struct{ Packets, Lost, Bursts, LongestBurst, Duplicates, Reordered, Strays, Restarts uint64 }
	rows := []struct {
		name string
		seqs []int
		want counts
	}{
		{"nothing came", nil, counts{}},
		{"one packet", []int{5}, counts{Packets: 1}},
		{"all in order", sequence(1, 100), counts{Packets: 100}},
		{"the sequence number wraps", sequence(65000, 66000), counts{Packets: 1001}},
		{"it wraps twice", sequence(65000, 65000+2*65536), counts{Packets: 2*65536 + 1}},
		{"single losses are bursts of one", sequence(1, 100, 10, 20, 30),
			counts{Packets: 97, Lost: 3, Bursts: 3, LongestBurst: 1}},
		{"neighbours lost are one burst", sequence(1, 100, 10, 11, 12, 50),
			counts{Packets: 96, Lost: 4, Bursts: 2, LongestBurst: 3}},
		{"a loss at the wrap", sequence(65530, 65545, 65535, 65536),
			counts{Packets: 14, Lost: 2, Bursts: 1, LongestBurst: 2}},
		{"a loss long ago stays lost", sequence(1, 5000, 3, 4),
			counts{Packets: 4998, Lost: 2, Bursts: 1, LongestBurst: 2}},
		{"the same packet twice", []int{1, 2, 2, 3}, counts{Packets: 4, Duplicates: 1}},
		{"an old packet twice", []int{1, 2, 3, 4, 1}, counts{Packets: 5, Duplicates: 1}},
		{"every packet twice hides no loss", []int{1, 1, 2, 2, 4, 4},
			counts{Packets: 6, Duplicates: 3, Lost: 1, Bursts: 1, LongestBurst: 1}},
		{"two changed places", []int{1, 3, 2, 4}, counts{Packets: 4, Reordered: 1}},
		{"a late packet splits a burst", []int{1, 5, 3, 6},
			counts{Packets: 4, Reordered: 1, Lost: 2, Bursts: 2, LongestBurst: 1}},
		{"the first packet was overtaken", []int{2, 1, 3}, counts{Packets: 3, Reordered: 1}},
		{"the first packets were overtaken and one is missing", []int{4, 1, 3, 5},
			counts{Packets: 4, Reordered: 2, Lost: 1, Bursts: 1, LongestBurst: 1}},
		{"the first was overtaken across the wrap", []int{65536, 65535, 65537}, counts{Packets: 3, Reordered: 1}},
		{"a second of silence on the line is a burst", sequence(1, 200, sequence(101, 150)...),
			counts{Packets: 150, Lost: 50, Bursts: 1, LongestBurst: 50}},
		{"an outage longer than the window is a burst", sequence(1, 3000, sequence(101, 2100)...),
			counts{Packets: 1000, Lost: 2000, Bursts: 1, LongestBurst: 2000}},
		{"one packet from nowhere is a stray", []int{1, 2, 30000, 3, 4}, counts{Packets: 5, Strays: 1}},
		{"a jump that goes on is a restart and no loss", []int{1, 2, 30000, 30001, 30002},
			counts{Packets: 5, Strays: 1, Restarts: 1}},
		{"a loss before a restart stays a loss", []int{1, 3, 30000, 30001, 30003},
			counts{Packets: 5, Strays: 1, Restarts: 1, Lost: 2, Bursts: 2, LongestBurst: 1}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			var s Stats
			feed(&s, 1, row.seqs...)
			m := s.Summary()
			got := counts{m.Packets, m.Lost, m.Bursts, m.LongestBurst, m.Duplicates, m.Reordered, m.Strays, m.Restarts}
			if d := cmp.Diff(row.want, got); d != "" {
				t.Error(d)
			}
			if m.Bytes != 160*m.Packets {
				t.Errorf("%d bytes", m.Bytes)
			}
		})
	}
}

func TestStatsBeginsAnewWithAnotherSSRC(t *testing.T) {
	var s Stats
	feed(&s, 1, sequence(1, 10, 5)...)
	feed(&s, 2, sequence(40000, 40009, 40005)...)
	m := s.Summary()
	if m.SSRC != 2 || m.Restarts != 1 || m.Packets != 18 || m.Lost != 2 || m.Bursts != 2 || m.Strays != 0 {
		t.Errorf("%+v", m)
	}
	if r := s.Report(epoch); r.SSRC != 2 || r.Lost != 1 || r.Highest != 40009 {
		t.Errorf("%+v", r)
	}
}

func TestJitter(t *testing.T) {
	const step = 20 * time.Millisecond
	rows := []struct {
		name  string
		delay func(n int) time.Duration
		want  time.Duration
	}{
		{"an even stream has none", func(int) time.Duration { return 0 }, 0},
		{"a constant delay is none", func(int) time.Duration { return time.Second }, 0},
		// D is 8 ms each time, so the estimate goes to 8 ms (less the rounding of A.8).
		{"every other packet 8 ms late", func(n int) time.Duration { return time.Duration(n%2) * 8 * time.Millisecond }, 8 * time.Millisecond},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			var s Stats
			for n := range 500 {
				p := Packet{Sequence: uint16(n), Timestamp: 0xffffff00 + uint32(n*160), SSRC: 1}
				s.Add(&p, 8000, epoch.Add(time.Duration(n)*step+row.delay(n)))
			}
			got := s.Summary().Jitter
			if d := got - row.want; d < -time.Millisecond/4 || d > time.Millisecond/4 {
				t.Errorf("%v, want %v", got, row.want)
			}
		})
	}
}

// At 90 kHz the timestamp wraps after 13 hours, and nanoseconds times the clock rate overflow after minutes.
func TestJitterOfALongCall(t *testing.T) {
	var s Stats
	const clock, every = 90000, 2 * time.Second
	for n := range 1_000_000 { // 23 days
		p := Packet{Sequence: uint16(n), Timestamp: uint32(uint64(n) * 2 * clock), SSRC: 1}
		s.Add(&p, clock, epoch.Add(time.Duration(n)*every))
	}
	if m := s.Summary(); m.Jitter != 0 || m.MaxJitter != 0 || m.Lost != 0 {
		t.Errorf("%+v", m)
	}
}

func TestATimestampJumpIsNoJitter(t *testing.T) {
	var s Stats
	feed(&s, 1, sequence(1, 10)...)
	for n := 11; n < 20; n++ {
		p := Packet{Sequence: uint16(n), Timestamp: 0x70000000 + uint32(n*160), SSRC: 1}
		s.Add(&p, 8000, epoch.Add(time.Duration(n)*20*time.Millisecond))
	}
	if m := s.Summary(); m.MaxJitter != 0 {
		t.Errorf("%+v", m)
	}
}

func TestReport(t *testing.T) {
	var s Stats
	if s.Report(epoch) != nil {
		t.Error("a report about nothing")
	}
	feed(&s, 9, sequence(1, 100, sequence(51, 75)...)...)
	s.SenderReported(SenderInfo{NTP: 0x1111_2222_3333_4444}, epoch)
	got := s.Report(epoch.Add(1500 * time.Millisecond))
	want := &Report{SSRC: 9, Fraction: 64, Lost: 25, Highest: 100, LastSR: 0x2222_3333, Delay: 3 << 15}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	feed(&s, 9, sequence(101, 110)...)
	if r := s.Report(epoch); r.Fraction != 0 || r.Lost != 25 {
		t.Errorf("a loss is reported once as a fraction, for ever as a sum: %+v", r)
	}
	feed(&s, 9, 110, 110)
	if r := s.Report(epoch); r.Fraction != 0 || r.Lost != 23 {
		t.Errorf("duplicates count as received (RFC 3550 6.4.1): %+v", r)
	}
}

func TestReportCountsWraps(t *testing.T) {
	var s Stats
	feed(&s, 9, sequence(65530, 65540)...)
	if r := s.Report(epoch); r.Highest != 65540 || r.Lost != 0 {
		t.Errorf("%+v", r)
	}
}

// Whatever the order, what came once plus what is missing is what was sent.
func FuzzStats(f *testing.F) {
	f.Add(uint16(1), []byte{1, 1, 1, 0, 255, 3})
	f.Add(uint16(65530), []byte{1, 5, 251, 1, 1, 1, 130, 130})
	f.Fuzz(func(t *testing.T, first uint16, steps []byte) {
		var s Stats
		seen := map[int64]bool{}
		// Steps of -100..155 around a position that only moves ahead stay inside the window.
		at := int64(first) + 1<<20
		low, high := at, at
		var packets uint64
		for i := -1; i < len(steps); i++ {
			n := at
			if i >= 0 {
				n = high + int64(steps[i]) - 100
			}
			low, high = min(low, n), max(high, n)
			seen[n] = true
			packets++
			p := Packet{Sequence: uint16(n), Timestamp: uint32(n), SSRC: 1, Payload: []byte{1}}
			s.Add(&p, 48000, epoch.Add(time.Duration(i)*time.Millisecond))
		}
		m := s.Summary()
		if m.Packets != packets || m.Duplicates != packets-uint64(len(seen)) {
			t.Errorf("%d different of %d: %+v", len(seen), packets, m)
		}
		if m.Lost != uint64(high-low+1)-uint64(len(seen)) || m.Strays != 0 || m.Restarts != 0 {
			t.Errorf("%d..%d, %d different: %+v", low, high, len(seen), m)
		}
		if m.Bursts > m.Lost || m.LongestBurst > m.Lost || (m.Lost > 0) != (m.Bursts > 0) {
			t.Errorf("bursts do not fit the losses: %+v", m)
		}
	})
}
