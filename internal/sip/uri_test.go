package sip

import (
	"strings"
	"testing"
)

func TestURIParts(t *testing.T) {
	for _, row := range []struct{ text, user, host, params, headers string }{
		{"sip:45675002@sip.example.com", "45675002", "sip.example.com", "", ""},
		{"sip:45675002:secret@192.0.2.1:5070;transport=tcp?Subject=x", "45675002", "192.0.2.1", ";transport=tcp", "Subject=x"},
		{"sips:a;b=c@[2001:db8::1]:5061;lr", "a;b=c", "2001:db8::1", ";lr", ""},
		{"SIP:host", "", "host", "", ""},
	} {
		u, err := ParseURI([]byte(row.text))
		if err != nil || string(u.User) != row.user || string(u.Host) != row.host || string(u.Params) != row.params || string(u.Headers) != row.headers {
			t.Errorf("%s: %v %+v", row.text, err, u)
		}
		if got := string(u.AppendTo(nil)); got != row.text {
			t.Errorf("%s comes out as %s", row.text, got)
		}
	}
	for _, text := range []string{"", "sip:", "45675002", "sip:@host", "sip:a@b:99999", "sip:a@b:x", "sip:a b@c", "sip:a@[::1", "sip:a@2001:db8::1", "sip:a@[abc]", "sip:a@b>"} {
		if u, err := ParseURI([]byte(text)); err == nil {
			t.Errorf("%q is taken as %+v", text, u)
		}
	}
}

// The rows are RFC 3261 19.1.4's own.
func TestURIEquality(t *testing.T) {
	for _, row := range []struct {
		a, b string
		want bool
	}{
		{"sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtlanTa.CoM;Transport=tcp", true},
		{"sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5", true},
		{"sip:carol@chicago.com;security=on", "sip:carol@chicago.com;newparam=5", true},
		{"sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com", "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com", true},
		{"sip:alice@atlanta.com?subject=project%20x&priority=urgent", "sip:alice@atlanta.com?priority=urgent&subject=project%20x", true},
		{"SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP", false},
		{"sip:bob@biloxi.com", "sip:bob@biloxi.com:5060", false},
		{"sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp", false},
		{"sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp", false},
		{"sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting", false},
		{"sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4", false},
		{"sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off", false},
	} {
		a, _ := ParseURI([]byte(row.a))
		b, _ := ParseURI([]byte(row.b))
		if a.Equal(b) != row.want || b.Equal(a) != row.want {
			t.Errorf("%s and %s: equal %t, want %t", row.a, row.b, a.Equal(b), row.want)
		}
	}
}

func TestAddresses(t *testing.T) {
	for _, row := range []struct{ text, display, uri, tag string }{
		{`"A. \"B\"" <sip:a@b;lr>;tag=x`, `A. \"B\"`, "sip:a@b;lr", "x"},
		{`sip:a@b;tag=x`, "", "sip:a@b", "x"},
		{`Studio One <sip:a@b> ; TAG = x ; y`, "Studio One", "sip:a@b", "x"},
		{`<tel:+33123>`, "", "tel:+33123", ""},
	} {
		a, err := ParseAddress([]byte(row.text))
		if err != nil || string(a.Display) != row.display || string(a.URI) != row.uri || string(a.Tag()) != row.tag {
			t.Errorf("%s: %v %q %q %q", row.text, err, a.Display, a.URI, a.Tag())
		}
	}
	for _, text := range []string{"", `"a <sip:a@b>`, `Bell, A <sip:a@b>`, "<sip:a@b", "sip:a@b?x=y", "<sip:a@b> x", `<sip:a@b>;"x"=y`, "<a@b>"} {
		if a, err := ParseAddress([]byte(text)); err == nil {
			t.Errorf("%q is taken as %+v", text, a)
		}
	}
}

func FuzzURI(f *testing.F) {
	for _, s := range []string{"sip:a:b@c:1;d=e?f=g", "sips:[::1]", "tel:+1", "sip:%00@x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := ParseURI([]byte(s))
		if err != nil {
			return
		}
		out := string(u.AppendTo(nil))
		v, err := ParseURI([]byte(out))
		if err != nil || (!strings.Contains(s, ";") && !strings.Contains(s, "?") && !u.Equal(v)) {
			t.Fatalf("%q comes out as %q: %v", s, out, err)
		}
	})
}

func FuzzAddress(f *testing.F) {
	f.Add(`"a\"" <sip:a@b>;tag=1;x="y;z"`)
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress([]byte(s))
		if err == nil && len(a.URI) == 0 {
			t.Fatalf("%q has no URI", s)
		}
		for name := range a.Params.All() {
			if err == nil && !isToken(name) {
				t.Fatalf("%q: parameter %q", s, name)
			}
		}
	})
}
