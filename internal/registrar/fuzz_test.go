package registrar

import (
	"testing"

	"liaison/internal/account"
	"liaison/internal/sip"
	"liaison/internal/sip/transport"
)

// Whatever an agent sends: its bindings stay bounded, the answer is a message, and every Contact in it can be read.
func FuzzRegister(f *testing.F) {
	for _, lines := range [][]string{
		do(`Contact: "A" <sip:a@10.0.0.7;x=1?h=v>;q=0.7;expires=60;+sip.instance="<urn:uuid:1>";reg-id=1, sip:b@[2001:db8::1]:5`, "Supported: outbound, path", "Path: <sip:198.51.100.7;lr;ob>"),
		do("m: *", "Expires: 0"),
		do("CSeq: 2 REGISTER", "Contact: <sips:a@host.example>", "Require: path, x"),
	} {
		f.Add([]byte(message(alice, lines...)), []byte(message(alice, "CSeq: 3 REGISTER", "Contact: <sip:c@10.0.0.7>")))
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		r := loose(t)
		for _, text := range [][]byte{first, second} {
			p := &transport.Packet{Flow: flowFrom(home)}
			if p.Msg.Parse(append([]byte(nil), text...)) != nil || p.Msg.Method != sip.REGISTER {
				return
			}
			p.Msg.Source = p.Flow.Remote
			done := make(chan []byte, 1)
			r.Register(p, &account.Account{Number: alice}, nil, func(status int, answer []byte) {
				done <- append([]byte(nil), answer...)
			})
			var m sip.Message
			answer := <-done
			if err := m.Parse(answer); err != nil {
				t.Fatalf("%v\n%s", err, answer)
			}
			for value := range m.Values(sip.HeaderContact) {
				a, err := sip.ParseAddress(value)
				if err == nil {
					_, err = sip.ParseURI(a.URI)
				}
				if err != nil {
					t.Fatalf("Contact %q: %v", value, err)
				}
			}
			if n := len(r.Lookup(alice, nil)); n > DefaultContacts {
				t.Fatalf("%d bindings", n)
			}
		}
	})
}
