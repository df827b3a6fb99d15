package main

import (
	"bytes"
	"testing"
)

func TestScan(t *testing.T) {
	response := "SIP/2.0 200 OK\r\n" +
		"v: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKbench1x2\r\n" +
		"RECORD-ROUTE: <sip:192.0.2.9;lr>\r\n" +
		"f: <sip:1@h>;tag=a\r\nt: <sip:2@h>;tag=b\r\ni: c1-2-x\r\n" +
		"CSeq: 17 INVITE\r\nContact : <sip:2@192.0.2.2>\r\n" +
		"Max-Forwards: 69\r\nl: 4\r\n\r\nv=0\n"
	var m message
	if err := m.scan([]byte(response)); err != nil {
		t.Fatal(err)
	}
	if m.status != 200 || string(m.method) != "INVITE" || m.cseq != 17 || string(m.callID) != "c1-2-x" ||
		string(m.to) != "<sip:2@h>;tag=b" || string(inAngles(m.contact)) != "sip:2@192.0.2.2" ||
		len(m.vias) != 1 || len(m.recordRoutes) != 1 || string(m.maxForwards) != "69" || string(m.body) != "v=0\n" {
		t.Errorf("read as %+v", m)
	}

	request := "BYE sip:2@192.0.2.2 SIP/2.0\r\nVia: a\r\nVia: b, c\r\nRoute: <sip:p;lr>\r\nFrom: f\r\nTo: t\r\nCall-ID: i\r\nCSeq: 3 BYE\r\n\r\n"
	if err := m.scan([]byte(request)); err != nil {
		t.Fatal(err)
	}
	if m.status != 0 || string(m.method) != "BYE" || string(m.uri) != "sip:2@192.0.2.2" || len(m.vias) != 2 || m.routes != 1 || m.contact != nil {
		t.Errorf("read as %+v", m)
	}
}

func TestScanRefuses(t *testing.T) {
	const head = "SIP/2.0 200 OK\r\nVia: v\r\nFrom: f\r\nTo: t\r\nCall-ID: i\r\nCSeq: 1 BYE\r\n"
	for name, text := range map[string]string{
		"nothing":                            "",
		"headers without their end":          head,
		"a status that is no number":         "SIP/2.0 OK\r\n\r\n",
		"another protocol":                   "GET / HTTP/1.1\r\n\r\n",
		"a folded line":                      head + " folded\r\n\r\n",
		"a line without a colon":             head + "nonsense\r\n\r\n",
		"a body shorter than its length":     head + "Content-Length: 5\r\n\r\nabc",
		"a body longer than its length":      head + "Content-Length: 1\r\n\r\nabc",
		"a response without a Call-ID":       "SIP/2.0 200 OK\r\nVia: v\r\nFrom: f\r\nTo: t\r\nCSeq: 1 BYE\r\n\r\n",
		"a response without a Via":           "SIP/2.0 200 OK\r\nFrom: f\r\nTo: t\r\nCall-ID: i\r\nCSeq: 1 BYE\r\n\r\n",
		"a CSeq that is no number":           "SIP/2.0 200 OK\r\nVia: v\r\nFrom: f\r\nTo: t\r\nCall-ID: i\r\nCSeq: x BYE\r\n\r\n",
		"lines that end in LF without CR":    "SIP/2.0 200 OK\nVia: v\n\n",
		"a start line with another spelling": "BYE sip:a SIP/3.0\r\n\r\n",
	} {
		var m message
		if err := m.scan([]byte(text)); err == nil {
			t.Errorf("%s was read as %+v", name, m)
		}
	}
}

func FuzzScan(f *testing.F) {
	f.Add([]byte("SIP/2.0 401 No\r\nVia: v\r\nFrom: f\r\nTo: t\r\nCall-ID: i\r\nCSeq: 1 REGISTER\r\nWWW-Authenticate: Digest realm=\"r\", nonce=\"n\"\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m message
		if m.scan(b) != nil {
			return
		}
		if !bytes.HasSuffix(b, m.body) || len(m.vias) == 0 || m.status != 0 && (m.status < 100 || m.status > 699) {
			t.Errorf("%q read as %+v", b, m)
		}
		parameter(m.challenge, "nonce")
		inAngles(m.contact)
		appendRouteSet(nil, m.recordRoutes)
	})
}

func TestParameter(t *testing.T) {
	challenge := []byte(`Digest realm="a, b", cnonce="no", nonce="yes",qop="auth,auth-int", stale=true, algorithm=MD5`)
	for name, want := range map[string]string{"realm": "a, b", "nonce": "yes", "qop": "auth,auth-int", "stale": "true", "algorithm": "MD5", "opaque": ""} {
		if got := parameter(challenge, name); string(got) != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestRouteSetIsReversed(t *testing.T) {
	got := appendRouteSet(nil, [][]byte{[]byte("<sip:c;lr>, <sip:b;lr;x=y>"), []byte("<sip:a;lr>")})
	const want = "Route: <sip:a;lr>\r\nRoute: <sip:b;lr;x=y>\r\nRoute: <sip:c;lr>\r\n"
	if string(got) != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
