package rtp

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func wire(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParse(t *testing.T) {
	rows := []struct {
		name string
		in   string
		want Packet
		err  error
	}{
		{name: "a plain packet of G.711 with the marker",
			in:   "80 88 0001 00000002 00000003 d5d5",
			want: Packet{PayloadType: 8, Marker: true, Sequence: 1, Timestamp: 2, SSRC: 3, Payload: []byte{0xd5, 0xd5}}},
		{name: "a packet without payload is a packet",
			in:   "80 60 ffff ffffffff fffffffe",
			want: Packet{PayloadType: 96, Sequence: 0xffff, Timestamp: 0xffffffff, SSRC: 0xfffffffe, Payload: []byte{}}},
		{name: "contributing sources stand before the payload",
			in: "82 00 0001 00000002 00000003 0000000a 0000000b ff",
			want: Packet{Sequence: 1, Timestamp: 2, SSRC: 3,
				CSRC: []byte{0, 0, 0, 10, 0, 0, 0, 11}, Payload: []byte{0xff}}},
		{name: "a one-byte-form header extension is skipped and kept",
			in: "90 00 0001 00000002 00000003 bede0001 10ff0000 ff",
			want: Packet{Sequence: 1, Timestamp: 2, SSRC: 3,
				Profile: 0xbede, Extension: []byte{0x10, 0xff, 0, 0}, Payload: []byte{0xff}}},
		{name: "an extension of no words is an extension",
			in: "90 00 0001 00000002 00000003 12340000 ff",
			want: Packet{Sequence: 1, Timestamp: 2, SSRC: 3,
				Profile: 0x1234, Extension: []byte{}, Payload: []byte{0xff}}},
		{name: "padding is not payload",
			in:   "a0 00 0001 00000002 00000003 ffff 000003",
			want: Packet{Sequence: 1, Timestamp: 2, SSRC: 3, Payload: []byte{0xff, 0xff}, Padding: 3}},
		{name: "a packet may be padding alone",
			in:   "a0 00 0001 00000002 00000003 00000004",
			want: Packet{Sequence: 1, Timestamp: 2, SSRC: 3, Payload: []byte{}, Padding: 4}},
		{name: "sources, extension and padding together",
			in: "b1 00 0001 00000002 00000003 0000000a bede0001 01020304 ff 02 02",
			want: Packet{Sequence: 1, Timestamp: 2, SSRC: 3, CSRC: []byte{0, 0, 0, 10},
				Profile: 0xbede, Extension: []byte{1, 2, 3, 4}, Payload: []byte{0xff}, Padding: 2}},
		{name: "eleven bytes are no packet", in: "80 00 0001 00000002 000000", err: ErrShort},
		{name: "version 1 is not ours", in: "40 00 0001 00000002 00000003", err: ErrVersion},
		{name: "sources that are not there", in: "8f 00 0001 00000002 00000003 0000", err: ErrShort},
		{name: "an extension without its header", in: "90 00 0001 00000002 00000003 bede", err: ErrShort},
		{name: "an extension longer than the packet", in: "90 00 0001 00000002 00000003 bedeffff 00", err: ErrShort},
		{name: "padding of zero counts not even itself", in: "a0 00 0001 00000002 00000003 ff00", err: ErrPadding},
		{name: "padding that reaches into the header", in: "a0 00 0001 00000002 00000003 ff03", err: ErrPadding},
		{name: "padding in a packet without payload", in: "a0 00 0001 00000002 00000003", err: ErrPadding},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			var p Packet
			if err := p.Parse(wire(t, row.in)); !errors.Is(err, row.err) {
				t.Fatalf("error %v, want %v", err, row.err)
			}
			if row.err == nil {
				if d := cmp.Diff(row.want, p); d != "" {
					t.Error(d)
				}
			}
		})
	}
}

func TestParseForgetsThePacketBefore(t *testing.T) {
	var p Packet
	if err := p.Parse(wire(t, "b1 00 0001 00000002 00000003 0000000a bede0001 01020304 ff 02 02")); err != nil {
		t.Fatal(err)
	}
	if err := p.Parse(wire(t, "80 00 0001 00000002 00000003 ff")); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(Packet{Sequence: 1, Timestamp: 2, SSRC: 3, Payload: []byte{0xff}}, p); d != "" {
		t.Error(d)
	}
}

func TestParseAndCountWithoutAllocation(t *testing.T) {
	b := Header{PayloadType: 8, Sequence: 7, Timestamp: 8, SSRC: 9}.AppendTo(nil)
	b = append(b, make([]byte, 160)...)
	var p Packet
	var s Stats
	n := testing.AllocsPerRun(1000, func() {
		if p.Parse(b) != nil {
			t.Fatal("refused")
		}
		p.Sequence++
		s.Add(&p, 8000, epoch)
	})
	if n != 0 {
		t.Errorf("%v allocations a packet", n)
	}
}

func TestIsControl(t *testing.T) {
	rows := []struct {
		name string
		in   string
		want bool
	}{
		{"a sender report", "80c8", true},
		{"a receiver report", "81c9", true},
		{"PCMA with the marker", "8088", false},
		{"payload type 96 with the marker", "80e0", false},
		{"payload type 72 with the marker cannot be told from RTCP", "80c8", true},
		{"STUN", "0001", false},
		{"one byte", "80", false},
	}
	for _, row := range rows {
		if got := IsControl(wire(t, row.in)); got != row.want {
			t.Errorf("%s: %v", row.name, got)
		}
	}
}

// What Parse accepts lies inside the datagram, piece after piece, and nothing of it is lost.
func FuzzParse(f *testing.F) {
	f.Add(wire(f, "80 88 0001 00000002 00000003 d5d5"))
	f.Add(wire(f, "b1 00 0001 00000002 00000003 0000000a bede0001 01020304 ff 02 02"))
	f.Add(wire(f, "a0 00 0001 00000002 00000003 00000004"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var p Packet
		if p.Parse(b) != nil {
			return
		}
		var again []byte
		again = Header{p.PayloadType, p.Marker, p.Sequence, p.Timestamp, p.SSRC}.AppendTo(again)
		again[0] |= byte(len(p.CSRC) / 4)
		again = append(again, p.CSRC...)
		if p.Extension != nil {
			again[0] |= 0x10
			n := len(p.Extension) / 4
			again = append(again, byte(p.Profile>>8), byte(p.Profile), byte(n>>8), byte(n))
			again = append(again, p.Extension...)
		}
		again = append(again, p.Payload...)
		if p.Padding > 0 {
			again[0] |= 0x20
			again = append(again, b[len(b)-p.Padding:]...)
		}
		if !bytes.Equal(b, again) {
			t.Errorf("in  %x\nout %x", b, again)
		}
	})
}
