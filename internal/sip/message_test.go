package sip

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

const invite = "INVITE sip:45675002@sip.example.com SIP/2.0\r\n" +
	"Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK77;rport\r\n" +
	"v: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1 , SIP/2.0/TCP 10.0.0.2:5070;branch=z9hG4bK0\r\n" +
	"Max-Forwards: 70\r\n" +
	"FROM : \"Studio \\\"A\\\"\" <sip:45675001@sip.example.com>;Tag=abc\r\n" +
	"t: <sip:45675002@sip.example.com>\r\n" +
	"i: 1@192.0.2.7\r\n" +
	"CSeq: 1 INVITE\r\n" +
	"m: <sip:45675001@192.0.2.7:5060;transport=udp>\r\n" +
	"X-Studio: one,\r\n two\r\n" +
	"Content-Type: application/sdp\r\n" +
	"l: 4\r\n" +
	"\r\nv=0\n"

func parse(t *testing.T, text string) *Message {
	t.Helper()
	m := new(Message)
	if err := m.Parse([]byte(text)); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return m
}

func TestParseReadsWhatAProxyNeeds(t *testing.T) {
	m := parse(t, invite)
	for what, pair := range map[string][2]string{
		"method":           {string(m.Method), "INVITE"},
		"request URI":      {string(m.URI), "sip:45675002@sip.example.com"},
		"branch":           {string(m.Via.Branch), "z9hG4bK77"},
		"sent-by":          {string(m.Via.Host), "192.0.2.7"},
		"from tag":         {string(m.From.Tag()), "abc"},
		"display name":     {string(m.From.Display), `Studio \"A\"`},
		"to URI":           {string(m.To.URI), "sip:45675002@sip.example.com"},
		"compact Call-ID":  {string(m.CallID), "1@192.0.2.7"},
		"compact Contact":  {string(m.Header(HeaderContact)), "<sip:45675001@192.0.2.7:5060;transport=udp>"},
		"unfolded header":  {strings.Join(strings.Fields(string(m.Named("x-studio"))), " "), "one, two"},
		"body":             {string(m.Body), "v=0\n"},
		"missing header":   {string(m.Header(HeaderRoute)), ""},
		"to has no tag":    {string(m.To.Tag()), ""},
		"name as it stood": {string(m.At(3).Name), "FROM"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: got %q, want %q", what, pair[0], pair[1])
		}
	}
	if n, _ := m.MaxForwards(); n != 70 || m.CSeq != 1 || m.Via.Port != 5060 {
		t.Errorf("Max-Forwards %d, CSeq %d, port %d", n, m.CSeq, m.Via.Port)
	}
	var vias []string
	for v := range m.Values(HeaderVia) {
		vias = append(vias, string(v))
	}
	want := []string{"SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK77;rport", "SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1", "SIP/2.0/TCP 10.0.0.2:5070;branch=z9hG4bK0"}
	if !slices.Equal(vias, want) {
		t.Errorf("Via elements %q", vias)
	}
}

func TestViasAreStampedForwardedAndTakenOff(t *testing.T) {
	m := parse(t, invite)
	m.Source = netip.MustParseAddrPort("203.0.113.9:40000")
	got := string(m.AppendVias(nil))
	want := "Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK77;received=203.0.113.9;rport=40000\r\n" +
		"Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1 , SIP/2.0/TCP 10.0.0.2:5070;branch=z9hG4bK0\r\n"
	if got != want {
		t.Errorf("stamped:\n%s", got)
	}
	if got := string(m.AppendViasBelow(nil)); got != "Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1 , SIP/2.0/TCP 10.0.0.2:5070;branch=z9hG4bK0\r\n" {
		t.Errorf("below:\n%s", got)
	}
	list := parse(t, strings.Replace(invite, "rport\r\nv: ", "rport, ", 1))
	if got := string(list.AppendViasBelow(nil)); got != "Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1 , SIP/2.0/TCP 10.0.0.2:5070;branch=z9hG4bK0\r\n" {
		t.Errorf("below, from one line:\n%s", got)
	}
	list.Source = netip.MustParseAddrPort("192.0.2.7:5060")
	if got := string(list.AppendVias(nil)); !strings.HasPrefix(got, "Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK77;received=192.0.2.7;rport=5060, SIP/2.0/UDP 10.0.0.1") {
		t.Errorf("stamped, from one line:\n%s", got)
	}
}

func TestAnswersGoToWhoAsked(t *testing.T) {
	for _, row := range []struct{ name, via, source, want string }{
		{"rport: the source port", "192.0.2.7:5080;rport", "192.0.2.7:40000", "192.0.2.7:40000"},
		{"without rport the sent-by port", "192.0.2.7:5080", "192.0.2.7:40000", "192.0.2.7:5080"},
		{"without rport and port 5060", "192.0.2.7", "192.0.2.7:40000", "192.0.2.7:5060"},
		{"behind a NAT without rport the source", "10.0.0.7:5080", "192.0.2.7:40000", "192.0.2.7:40000"},
		{"a name without rport: RFC 3261 18.2.2", "codec.example:5080", "192.0.2.7:40000", "192.0.2.7:5080"},
		{"maddr is not followed", "192.0.2.7;maddr=198.51.100.1", "192.0.2.7:5060", "192.0.2.7:5060"},
		{"IPv6", "[2001:db8::7]:5080", "[2001:db8::7]:40000", "[2001:db8::7]:5080"},
	} {
		m := parse(t, strings.Replace(invite, "192.0.2.7:5060;branch=z9hG4bK77;rport", row.via+";branch=z9hG4bKx", 1))
		m.Source = netip.MustParseAddrPort(row.source)
		if got := m.ResponseAddr().String(); got != row.want {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
	}
}

func TestMalformedMessagesAreRefused(t *testing.T) {
	replace := func(old, new string) string { return strings.Replace(invite, old, new, 1) }
	for _, row := range []struct {
		name, text string
		status     int
		answerable bool
	}{
		{"two From headers", replace("t: ", "f: <sip:x@y>;tag=1\r\nt: "), 400, true},
		{"two Call-ID headers", replace("CSeq", "Call-ID: 2\r\nCSeq"), 400, true},
		{"two CSeq headers", replace("m: ", "CSeq: 2 INVITE\r\nm: "), 400, true},
		{"CSeq of another method", replace("1 INVITE", "1 BYE"), 400, true},
		{"CSeq too large", replace("1 INVITE", "4294967297 INVITE"), 400, true},
		{"Content-Length larger than the datagram", replace("l: 4", "l: 1000000000"), 400, true},
		{"negative Content-Length", replace("l: 4", "l: -4"), 400, true},
		{"two Content-Lengths", replace("l: 4", "l: 4\r\nContent-Length: 5"), 400, true},
		{"another version", replace("SIP/2.0\r\n", "SIP/7.0\r\n"), 505, true},
		{"two spaces in the request line", replace("INVITE sip", "INVITE  sip"), 400, true},
		{"URI in angle brackets", replace("sip:45675002@sip.example.com SIP", "<sip:45675002@sip.example.com> SIP"), 400, true},
		{"quote without end", replace("\\\"A\\\"\"", "A"), 400, true},
		{"no Via", replace("Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK77;rport\r\nv: ", "X: "), 400, false},
		{"a Via that is none", replace("SIP/2.0/UDP 192.0.2.7:5060;", ";"), 400, false},
		{"no Call-ID", replace("i: 1@192.0.2.7\r\n", ""), 400, false},
		{"no empty line", strings.TrimSuffix(invite, "\r\nv=0\n"), 400, true},
		{"an ACK is never answered", strings.ReplaceAll(replace("l: 4", "l: 9"), "INVITE", "ACK"), 400, false},
		{"a response is never answered", replace("INVITE sip:45675002@sip.example.com SIP/2.0", "SIP/2.0 99 No"), 400, false},
		{"noise", "hello\r\n\r\n", 400, false},
		{"nothing", "", 400, false},
	} {
		var m Message
		err := m.Parse([]byte(row.text))
		var e *Error
		if !errors.As(err, &e) || e.Status != row.status || m.Answerable() != row.answerable {
			t.Errorf("%s: %v, answerable %t", row.name, err, m.Answerable())
		}
	}
}

func TestResponseParses(t *testing.T) {
	m := parse(t, strings.Replace(invite, "INVITE sip:45675002@sip.example.com SIP/2.0", "SIP/2.0 486 Busy Here", 1))
	if m.IsRequest() || m.Status != 486 || string(m.Reason) != "Busy Here" || m.Method != INVITE {
		t.Errorf("%d %q %s", m.Status, m.Reason, m.Method)
	}
}

func TestAnswerCopiesWhatTheRFCSays(t *testing.T) {
	m := parse(t, invite)
	m.Source = netip.MustParseAddrPort("192.0.2.7:5060")
	got := string(AppendBody(AppendResponse(nil, m, 480, "", "us"), "", nil))
	want := "SIP/2.0 480 Temporarily Unavailable\r\n" +
		"Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK77;received=192.0.2.7;rport=5060\r\n" +
		"Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1 , SIP/2.0/TCP 10.0.0.2:5070;branch=z9hG4bK0\r\n" +
		"From: \"Studio \\\"A\\\"\" <sip:45675001@sip.example.com>;Tag=abc\r\n" +
		"To: <sip:45675002@sip.example.com>;tag=us\r\n" +
		"Call-ID: 1@192.0.2.7\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
	if got != want {
		t.Errorf("got\n%s", got)
	}
}

func TestFrameFindsMessagesInAStream(t *testing.T) {
	for _, row := range []struct {
		name, text string
		n          int
		fails      bool
	}{
		{"whole", invite, len(invite), false},
		{"whole and more", invite + invite, len(invite), false},
		{"body still missing", invite[:len(invite)-1], 0, false},
		{"head still missing", invite[:100], 0, false},
		{"no length: no body", "A: b\r\n\r\nrest", 8, false},
		{"folded length", "Content-Length:\r\n 2\r\n\r\nab", 25, false},
		{"two lengths", "l: 2\r\nl: 3\r\n\r\nabc", 0, true},
		{"a length that is none", "l: +2\r\n\r\nabc", 0, true},
		{"a length beyond all bounds", "l: 99999999\r\n\r\nabc", 0, true},
		{"endless head", strings.Repeat("A: b\r\n", 20000), 0, true},
	} {
		n, err := Frame([]byte(row.text))
		if n != row.n || (err != nil) != row.fails {
			t.Errorf("%s: %d, %v", row.name, n, err)
		}
	}
}

func TestParsingAllocatesNothing(t *testing.T) {
	b, m := []byte(strings.Replace(invite, "X-Studio: one,\r\n two", "X-Studio: one", 1)), new(Message)
	dst := make([]byte, 0, 2048)
	if n := testing.AllocsPerRun(100, func() {
		if m.Parse(b) != nil {
			t.Fatal("does not parse")
		}
		m.Source = netip.MustParseAddrPort("192.0.2.7:5060")
		_, _ = ParseURI(m.URI)
		dst = AppendResponse(dst[:0], m, 200, "", "tag")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(invite))
	f.Add([]byte(strings.Replace(invite, "INVITE sip:45675002@sip.example.com SIP/2.0", "SIP/2.0 486 Busy Here", 1)))
	f.Add([]byte("OPTIONS sip:[2001:db8::1]:5060;lr?a=b SIP/2.0\nVia: SIP / 2.0 / UDP [::1] : 5060 ;branch=z9hG4bK\nf:<sip:a@b>;tag=1\nt:x <tel:1>\ni:1\nCSeq:1 OPTIONS\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m Message
		whole := append([]byte(nil), b...)
		if m.Parse(b) != nil {
			if m.Answerable() {
				AppendResponse(nil, &m, 400, "", "t")
			}
			return
		}
		if len(m.Body) > len(whole) {
			t.Fatal("the body grew")
		}
		// A message that is taken is written again line by line, and means the same.
		out := m.AppendVias(nil)
		for i := range m.Len() {
			if h := m.At(i); h.ID != HeaderVia {
				out = h.AppendTo(out)
			}
		}
		line := "SIP/2.0 200 OK\r\n"
		if m.IsRequest() {
			line = string(AppendRequestLine(nil, m.Method, m.URI))
		}
		out = append(append([]byte(line), out...), "\r\n"...)
		out = append(out, m.Body...)
		var again Message
		if err := again.Parse(out); err != nil {
			t.Fatalf("written again it does not parse: %v\n%q\n%q", err, whole, out)
		}
		if string(again.CallID) != string(m.CallID) || again.CSeq != m.CSeq || string(again.From.Tag()) != string(m.From.Tag()) ||
			string(again.Via.Branch) != string(m.Via.Branch) || string(again.Body) != string(m.Body) || again.Len() != m.Len() {
			t.Fatalf("written again it means something else:\n%q\n%q", whole, out)
		}
	})
}
