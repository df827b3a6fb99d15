package rtp

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestControlsOfACompoundPacket(t *testing.T) {
	info := SenderInfo{NTP: 0x0102030405060708, Timestamp: 9, Packets: 10, Bytes: 11}
	about := Report{SSRC: 12, Fraction: 13, Lost: -14, Highest: 15, Jitter: 16, LastSR: 17, Delay: 18}
	b := AppendSenderReport(nil, 1, info, &about)
	b = AppendName(b, 1, "liaison")
	b = AppendBye(b, 1)

	want := wire(t, "81c8000c 00000001 0102030405060708 00000009 0000000a 0000000b"+
		"0000000c 0dfffff2 0000000f 00000010 00000011 00000012"+
		"81ca0004 00000001 01 07 6c696169736f6e 00 0000"+
		"81cb0001 00000001")
	if d := cmp.Diff(want, b); d != "" {
		t.Fatal(d)
	}

	packets := slices.Collect(Controls(b))
	if len(packets) != 3 || packets[0].Type != SenderReport || packets[1].Type != SourceDescribe || packets[2].Type != Bye {
		t.Fatalf("%+v", packets)
	}
	for _, c := range packets {
		if c.SSRC() != 1 {
			t.Errorf("%d: SSRC %d", c.Type, c.SSRC())
		}
	}
	got, ok := packets[0].SenderInfo()
	if !ok || got != info {
		t.Errorf("%+v", got)
	}
	if d := cmp.Diff([]Report{about}, slices.Collect(packets[0].Reports())); d != "" {
		t.Error(d)
	}
}

func TestReportsWithoutABlock(t *testing.T) {
	b := AppendReceiverReport(nil, 7, nil)
	if d := cmp.Diff(wire(t, "80c90001 00000007"), b); d != "" {
		t.Error(d)
	}
	b = AppendSenderReport(nil, 7, SenderInfo{}, nil)
	if len(b) != 28 || b[3] != 6 {
		t.Errorf("%x", b)
	}
}

func TestNamesFillTheirWords(t *testing.T) {
	for n := range 260 {
		b := AppendName(nil, 1, string(make([]byte, n)))
		var c []Control
		for p := range Controls(b) {
			c = append(c, p)
		}
		if len(c) != 1 || len(c[0].Body)%4 != 0 || len(c[0].Body)+4 != len(b) {
			t.Fatalf("name of %d bytes: %x", n, b)
		}
	}
}

func TestControlsStopAtWhatDoesNotFit(t *testing.T) {
	rows := []struct {
		name string
		in   string
		want int
	}{
		{"nothing", "", 0},
		{"half a header", "80c9", 0},
		{"a length beyond the datagram", "80c90002 00000001", 0},
		{"the first is whole, the second is not", "80c90001 00000001 80c9ffff", 1},
		{"padding that is longer than the packet", "a0c90001 00000009", 0},
		{"a report that counts a block it has not", "81c90001 00000001", 1},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			n := 0
			for c := range Controls(wire(t, row.in)) {
				n++
				if got := slices.Collect(c.Reports()); len(got) != 0 {
					t.Errorf("reports %+v", got)
				}
			}
			if n != row.want {
				t.Errorf("%d packets, want %d", n, row.want)
			}
		})
	}
}

func TestNTP(t *testing.T) {
	if got := NTP(time.Date(1970, 1, 1, 0, 0, 0, 5e8, time.UTC)); got != 2208988800<<32|1<<31 {
		t.Errorf("%x", got)
	}
}

// Whatever comes, the pieces lie inside the datagram and reading ends.
func FuzzControls(f *testing.F) {
	f.Add(AppendBye(AppendName(AppendReceiverReport(nil, 1, &Report{}), 1, "x"), 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		total := 0
		for c := range Controls(b) {
			total += 4 + len(c.Body)
			if _, ok := c.SenderInfo(); ok && len(c.Body) < 24 {
				t.Error("sender info out of nothing")
			}
			if n := len(slices.Collect(c.Reports())); n > c.Count || n*reportSize > len(c.Body) {
				t.Errorf("%d reports in %d bytes", n, len(c.Body))
			}
		}
		if total > len(b) {
			t.Errorf("%d bytes out of %d", total, len(b))
		}
	})
}
