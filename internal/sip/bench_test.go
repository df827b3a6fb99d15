package sip

import (
	"net/netip"
	"strings"
	"testing"
)

func BenchmarkParse(b *testing.B) {
	text := []byte(strings.Replace(invite, "X-Studio: one,\r\n two", "X-Studio: one", 1))
	var m Message
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if m.Parse(text) != nil {
			b.Fatal("does not parse")
		}
	}
}

func BenchmarkAppendResponse(b *testing.B) {
	var m Message
	if m.Parse([]byte(invite)) != nil {
		b.Fatal("does not parse")
	}
	m.Source = netip.MustParseAddrPort("192.0.2.7:5060")
	dst := make([]byte, 0, 2048)
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendBody(AppendResponse(dst[:0], &m, 200, "", "tag"), "", nil)
	}
}
