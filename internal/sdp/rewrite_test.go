package sdp

import (
	"bytes"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

// relayPorts gives ports as a relay would: a pair for each address and port
// that a description names, RTCP next to the RTP of its line.
func relayPorts() func(Stream) uint16 {
	next := uint16(55004)
	ports := map[netip.AddrPort]uint16{}
	line := map[int]uint16{}
	return func(s Stream) uint16 {
		if s.Kind == RTCP {
			return line[s.Media] + 1
		}
		if ports[s.Addr] == 0 {
			ports[s.Addr] = next
			next += 2
		}
		if s.Kind == RTP {
			line[s.Media] = ports[s.Addr]
		}
		return ports[s.Addr]
	}
}

func TestRewrite(t *testing.T) {
	files, err := filepath.Glob("testdata/rewrite/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no golden files", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text := map[string]string{}
			for _, f := range ar.Files {
				name, lf := strings.CutSuffix(f.Name, ".lf")
				text[name] = string(f.Data)
				if !lf {
					text[name] = strings.ReplaceAll(text[name], "\n", "\r\n")
				}
			}
			d, err := Parse([]byte(text["in"]))
			if err != nil {
				t.Fatal(err)
			}
			got := d.AppendRewritten(nil, Rewrite{
				Addr:   netip.MustParseAddr("198.51.100.9"),
				Origin: bytes.HasPrefix(ar.Comment, []byte("origin:")),
				Port:   relayPorts(),
			})
			if diff := cmp.Diff(text["out"], string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestStreams(t *testing.T) {
	d, err := Parse([]byte("v=0\r\nc=IN IP4 192.0.2.7\r\nm=audio 5004 RTP/AVP 8 97\r\na=rtcp:5010 IN IP4 192.0.2.8\r\n" +
		"a=fmtp:97 5006 IN IP4 192.0.2.9/127\r\nm=video 0 RTP/AVP 31\r\nm=audio 5020 RTP/AVP 8\r\na=rtcp:5021\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []Stream{
		{0, RTP, netip.MustParseAddrPort("192.0.2.7:5004")},
		{0, RTCP, netip.MustParseAddrPort("192.0.2.8:5010")},
		{0, FEC, netip.MustParseAddrPort("192.0.2.9:5006")},
		{2, RTP, netip.MustParseAddrPort("192.0.2.7:5020")},
		{2, RTCP, netip.MustParseAddrPort("192.0.2.7:5021")},
	}
	if got := slices.Collect(d.Streams()); !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}
