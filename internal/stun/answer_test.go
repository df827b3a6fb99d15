package stun

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"testing"

	pion "github.com/pion/stun/v4"
)

// The service of these tests: two addresses and ports in each family, and a SIP port beside them.
const (
	a1p1, a1p2, a2p1, a2p2 = "192.0.2.1:3478", "192.0.2.1:3479", "192.0.2.2:3478", "192.0.2.2:3479"
	sipPort                = "192.0.2.1:5060"
	b1p1, b2p2             = "[2001:db8::1]:3478", "[2001:db8::2]:3479"

	client4 = "198.51.100.7:32853"
	client6 = "[2001:db8:1234:5678:11:2233:4455:6677]:32853"
)

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func addrs(list ...string) (all []netip.AddrPort) {
	for _, s := range list {
		all = append(all, addr(s))
	}
	return all
}

func twoAddresses(t testing.TB) *Topology {
	t.Helper()
	topology, err := NewTopology(addrs(a1p1, b1p1), Alternate{Address: addr(a2p2)}, Alternate{Address: addr(b2p2)})
	if err != nil {
		t.Fatal(err)
	}
	return topology
}

func oneAddress(t testing.TB) *Topology {
	t.Helper()
	topology, err := NewTopology(addrs("0.0.0.0:3478", "[::]:3478"))
	if err != nil {
		t.Fatal(err)
	}
	return topology
}

// wire reads hexadecimal digits; spaces and lines are for the reader.
func wire(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.NewReplacer(" ", "", "\n", "", "\t", "").Replace(s))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const (
	id        = "b7e7a701 bc34d686 fa87dfae"
	cookie    = "2112a442"
	classicID = "00112233 " + id
)

func TestAnswers(t *testing.T) {
	two, one := twoAddresses(t), oneAddress(t)
	for _, row := range []struct {
		name     string
		topology *Topology
		from, to string
		request  string
		want     string
		leaves   string // the address that the answer leaves from, if not the one that was asked
		outcome  Outcome
	}{
		{
			name: "RFC 8489: the address of the sender, hidden", topology: one, from: client4, to: a1p1,
			request: "0001 0000" + cookie + id,
			want:    "0101 000c" + cookie + id + "0020 0008 0001 a147 e721 c045",
		},
		{
			name: "on a SIP port it is the same", topology: two, from: client4, to: sipPort,
			request: "0001 0000" + cookie + id,
			want:    "0101 000c" + cookie + id + "0020 0008 0001 a147 e721 c045",
		},
		{
			name: "IPv6 is hidden behind the transaction too (RFC 5769 2.3)", topology: one, from: client6, to: b1p1,
			request: "0001 0000" + cookie + id,
			want:    "0101 0018" + cookie + id + "0020 0014 0002 a147 0113a9fa a5d3f179 bc25f4b5 bed2b9d9",
		},
		{
			name: "a FINGERPRINT is answered with one", topology: one, from: client4, to: a1p1,
			request: "0001 0008" + cookie + id + "8028 0004 fdf6ae02",
			want:    "0101 0014" + cookie + id + "0020 0008 0001 a147 e721 c045 8028 0004 a4aa7258",
		},
		{
			name: "SOFTWARE and other optional attributes are passed over", topology: one, from: client4, to: a1p1,
			request: "0001 0014" + cookie + id + "8022 0005 63 6f 64 65 63 000000 8999 0001 ff 000000",
			want:    "0101 000c" + cookie + id + "0020 0008 0001 a147 e721 c045",
		},
		{
			name: "RFC 5780: with a second address every answer names it", topology: two, from: client4, to: a1p1,
			request: "0001 0000" + cookie + id,
			want: "0101 0030" + cookie + id + "0020 0008 0001 a147 e721 c045" + "0001 0008 0001 8055 c6336407" +
				"802b 0008 0001 0d96 c0000201" + "802c 0008 0001 0d97 c0000202",
		},
		{
			name: "change of address and port", topology: two, from: client4, to: a1p1, leaves: a2p2,
			request: "0001 0008" + cookie + id + "0003 0004 00000006",
			want: "0101 0030" + cookie + id + "0020 0008 0001 a147 e721 c045" + "0001 0008 0001 8055 c6336407" +
				"802b 0008 0001 0d97 c0000202" + "802c 0008 0001 0d97 c0000202",
		},
		{
			name: "a change that asks for no change", topology: two, from: client4, to: a1p1,
			request: "0001 0008" + cookie + id + "0003 0004 00000000",
			want: "0101 0030" + cookie + id + "0020 0008 0001 a147 e721 c045" + "0001 0008 0001 8055 c6336407" +
				"802b 0008 0001 0d96 c0000201" + "802c 0008 0001 0d97 c0000202",
		},
		{
			name: "IPv6 has a second address of its own", topology: two, from: client6, to: b1p1, leaves: b2p2,
			request: "0001 0008" + cookie + id + "0003 0004 00000006",
			want: "0101 0060" + cookie + id + "0020 0014 0002 a147 0113a9fa a5d3f179 bc25f4b5 bed2b9d9" +
				"0001 0014 0002 8055 20010db8 12345678 00112233 44556677" +
				"802b 0014 0002 0d97 20010db8 00000000 00000000 00000002" +
				"802c 0014 0002 0d97 20010db8 00000000 00000000 00000002",
		},
		{
			name: "without a second address a change is refused", topology: one, from: client4, to: a1p1, outcome: Refused,
			request: "0001 0008" + cookie + id + "0003 0004 00000006",
			want: "0111 0024" + cookie + id + "0009 0018 00000414 556e6b6e6f776e20417474726962757465202020" +
				"000a 0002 0003 0003",
		},
		{
			name: "and so it is where it asks for nothing (RFC 5780 6.1)", topology: one, from: client4, to: a1p1, outcome: Refused,
			request: "0001 0008" + cookie + id + "0003 0004 00000000",
			want: "0111 0024" + cookie + id + "0009 0018 00000414 556e6b6e6f776e20417474726962757465202020" +
				"000a 0002 0003 0003",
		},
		{
			name: "a SIP port has no second address", topology: two, from: client4, to: sipPort, outcome: Refused,
			request: "0001 0008" + cookie + id + "0003 0004 00000004",
			want: "0111 0024" + cookie + id + "0009 0018 00000414 556e6b6e6f776e20417474726962757465202020" +
				"000a 0002 0003 0003",
		},
		{
			name: "PADDING and RESPONSE-PORT are refused, once each", topology: two, from: client4, to: a1p1, outcome: Refused,
			request: "0001 0018" + cookie + id + "0026 0004 00000000 0027 0004 13c40000 0026 0004 00000000",
			want: "0111 0024" + cookie + id + "0009 0018 00000414 556e6b6e6f776e20417474726962757465202020" +
				"000a 0004 0026 0027",
		},
		{
			name: "a refusal has a FINGERPRINT too: the request of RFC 5769 2.1 is ICE's, with PRIORITY", topology: one, from: client4, to: a1p1, outcome: Refused,
			request: rfc5769Request,
			want: "0111 002c" + cookie + id + "0009 0018 00000414 556e6b6e6f776e20417474726962757465202020" +
				"000a 0002 0024 0024" + "8028 0004 4ba96414",
		},
		{
			name: "a password is nothing to us (RFC 5769 2.4)", topology: one, from: "192.0.2.1:32853", to: a1p1,
			request: "0001 0060" + cookie + "78ad3433 c6ad72c0 29da412e" +
				"0006 0012 e3839ee38388e383aae38383e382afe382b9 0000" +
				"0015 001c 662f2f3439396b39353464364f4c33346f4c394653547679 3634 7341" +
				"0014 000b 6578616d706c652e6f7267 00" +
				"0008 0014 f67024656dd64a3e02b8e0712e85c9a28ca89666",
			want: "0101 000c" + cookie + "78ad3433 c6ad72c0 29da412e" + "0020 0008 0001 a147 e112a643",
		},
		{
			name: "what follows MESSAGE-INTEGRITY is not there", topology: one, from: client4, to: a1p1,
			request: "0001 0020" + cookie + id + "0008 0014 0000000000000000000000000000000000000000 0003 0004 00000006",
			want:    "0101 000c" + cookie + id + "0020 0008 0001 a147 e721 c045",
		},
		{
			name: "RESPONSE-ADDRESS is not obeyed", topology: one, from: client4, to: a1p1,
			request: "0001 000c" + cookie + id + "0002 0008 0001 13c4 cb007107",
			want:    "0101 000c" + cookie + id + "0020 0008 0001 a147 e721 c045",
		},

		{
			name: "RFC 3489: the whole transaction ID, addresses in the open", topology: one, from: client4, to: a1p1, outcome: AnsweredClassic,
			request: "0001 0000" + classicID,
			want:    "0101 0018" + classicID + "0001 0008 0001 8055 c6336407" + "0004 0008 0001 0d96 c0000201",
		},
		{
			name: "RFC 3489 with a second address", topology: two, from: client4, to: a1p1, outcome: AnsweredClassic,
			request: "0001 0008" + classicID + "0003 0004 00000000",
			want: "0101 0024" + classicID + "0001 0008 0001 8055 c6336407" + "0004 0008 0001 0d96 c0000201" +
				"0005 0008 0001 0d97 c0000202",
		},
		{
			name: "RFC 3489, change of address and port", topology: two, from: client4, to: a1p1, leaves: a2p2, outcome: AnsweredClassic,
			request: "0001 0008" + classicID + "0003 0004 00000006",
			want: "0101 0024" + classicID + "0001 0008 0001 8055 c6336407" + "0004 0008 0001 0d97 c0000202" +
				"0005 0008 0001 0d97 c0000202",
		},
		{
			name: "RFC 3489, RESPONSE-ADDRESS is not obeyed", topology: one, from: client4, to: a1p1, outcome: AnsweredClassic,
			request: "0001 000c" + classicID + "0002 0008 0001 13c4 cb007107",
			want:    "0101 0018" + classicID + "0001 0008 0001 8055 c6336407" + "0004 0008 0001 0d96 c0000201",
		},
		{
			name: "RFC 3489, without a second address a change that asks for nothing is none", topology: one, from: client4, to: a1p1, outcome: AnsweredClassic,
			request: "0001 0008" + classicID + "0003 0004 00000000",
			want:    "0101 0018" + classicID + "0001 0008 0001 8055 c6336407" + "0004 0008 0001 0d96 c0000201",
		},
		{
			name: "RFC 3489, without a second address silence is the answer of a closed NAT", topology: one, from: client4, to: a1p1, outcome: NoAlternate,
			request: "0001 0008" + classicID + "0003 0004 00000002",
		},
		{
			name: "RFC 3489 knows no XOR-MAPPED-ADDRESS, and names an even number of attributes", topology: one, from: client4, to: a1p1, outcome: Refused,
			request: "0001 0008" + classicID + "0020 0004 00000000",
			want: "0111 0024" + classicID + "0009 0018 00000414 556e6b6e6f776e20417474726962757465202020" +
				"000a 0004 0020 0020",
		},
		{
			name: "RFC 3489 has no FINGERPRINT: it is one of the attributes to pass over", topology: one, from: client4, to: a1p1, outcome: AnsweredClassic,
			request: "0001 0008" + classicID + "8028 0004 00000000",
			want:    "0101 0018" + classicID + "0001 0008 0001 8055 c6336407" + "0004 0008 0001 0d96 c0000201",
		},

		{name: "an indication keeps a path open and wants no answer", topology: one, from: client4, to: a1p1, outcome: Indication, request: "0011 0000" + cookie + id},
		{name: "a response", topology: one, from: client4, to: a1p1, outcome: NotBinding, request: "0101 0000" + cookie + id},
		{name: "TURN's Allocate", topology: one, from: client4, to: a1p1, outcome: NotBinding, request: "0003 0000" + cookie + id},
		{name: "RFC 3489's request for a shared secret", topology: one, from: client4, to: a1p1, outcome: NotBinding, request: "0002 0000" + classicID},
		{name: "a header that is not whole", topology: one, from: client4, to: a1p1, outcome: Malformed, request: "0001 0000" + cookie + "b7e7a701 bc34d686 fa87df"},
		{name: "nothing", topology: one, from: client4, to: a1p1, outcome: Malformed},
		{name: "a length that is too short", topology: one, from: client4, to: a1p1, outcome: Malformed, request: "0001 0000" + cookie + id + "00000000"},
		{name: "a length that is too long", topology: one, from: client4, to: a1p1, outcome: Malformed, request: "0001 0004" + cookie + id},
		{name: "a length that is not a multiple of four", topology: one, from: client4, to: a1p1, outcome: Malformed, request: "0001 0001" + cookie + id + "00"},
		{name: "an attribute that leaves the message", topology: one, from: client4, to: a1p1, outcome: Malformed, request: "0001 0004" + cookie + id + "8022 0001"},
		{name: "CHANGE-REQUEST of another length", topology: two, from: client4, to: a1p1, outcome: Malformed, request: "0001 0004" + cookie + id + "0003 0000"},
		{name: "something that is not STUN", topology: one, from: client4, to: a1p1, outcome: Malformed, request: "8001 0000" + cookie + id},
		{name: "a FINGERPRINT of another message", topology: one, from: client4, to: a1p1, outcome: BadFingerprint, request: "0001 0008" + cookie + id + "8028 0004 fdf6ae03"},
		{name: "a FINGERPRINT that is not the last", topology: one, from: client4, to: a1p1, outcome: Malformed, request: "0001 000c" + cookie + id + "8028 0004 fdf6ae02 8022 0000"},
		{name: "a sender without a port", topology: one, from: "198.51.100.7:0", to: a1p1, outcome: BadSource, request: "0001 0000" + cookie + id},
		{name: "a sender that is a group", topology: one, from: "239.1.2.3:5060", to: a1p1, outcome: BadSource, request: "0001 0000" + cookie + id},
		{name: "a sender that is nobody", topology: one, from: "0.0.0.0:5060", to: a1p1, outcome: BadSource, request: "0001 0000" + cookie + id},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.leaves == "" {
				row.leaves = row.to
			}
			request, want := wire(t, row.request), wire(t, row.want)
			got, from, o := Respond([]byte("before"), request, addr(row.from), addr(row.to), row.topology)
			got, ok := bytes.CutPrefix(got, []byte("before"))
			if !ok || !bytes.Equal(got, want) || o != row.outcome {
				t.Errorf("outcome %d, answer\n%x, want %d,\n%x", o, got, row.outcome, want)
			}
			if from != addr(row.leaves) {
				t.Errorf("leaves from %v, want %s", from, row.leaves)
			}
			if o <= Refused {
				readByAnother(t, got, request, row.from)
			}
		})
	}
}

// rfc5769Request is the sample request of RFC 5769 2.1.
const rfc5769Request = "0001 0058" + cookie + id +
	"8022 0010 5354554e 20746573 7420636c 69656e74" +
	"0024 0004 6e0001ff" +
	"8029 0008 932ff9b151263b36" +
	"0006 0009 6576746a3a68367659 202020" +
	"0008 0014 9aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2" +
	"8028 0004 e57a3bcf"

// readByAnother reads an answer with an implementation that is not ours; it knows no RFC 3489.
func readByAnother(t *testing.T, answer, request []byte, from string) {
	t.Helper()
	if binary.BigEndian.Uint32(request[4:]) != magicCookie {
		return
	}
	var m pion.Message
	if err := pion.Decode(answer, &m); err != nil {
		t.Fatalf("another implementation cannot read %x: %v", answer, err)
	}
	if !bytes.Equal(m.TransactionID[:], request[8:20]) {
		t.Errorf("transaction %x", m.TransactionID)
	}
	if m.Contains(pion.AttrFingerprint) {
		if err := pion.Fingerprint.Check(&m); err != nil {
			t.Error(err)
		}
	}
	switch m.Type {
	case pion.BindingSuccess:
		var mapped pion.XORMappedAddress
		if err := mapped.GetFrom(&m); err != nil || mapped.String() != from {
			t.Errorf("mapped address %v (%v), want %s", mapped, err, from)
		}
	case pion.BindingError:
		var code pion.ErrorCodeAttribute
		var unknown pion.UnknownAttributes
		if err := code.GetFrom(&m); err != nil || code.Code != pion.CodeUnknownAttribute {
			t.Errorf("error %v (%v)", code, err)
		}
		if err := unknown.GetFrom(&m); err != nil || len(unknown) == 0 {
			t.Errorf("unknown attributes %v (%v)", unknown, err)
		}
	default:
		t.Errorf("type %v", m.Type)
	}
}

// RFC 5780 6.1, table 1: where the answer leaves from, and that the other address does not depend on the flags.
func TestChangeRequest(t *testing.T) {
	two := twoAddresses(t)
	const none, port, ip, both = "00000000", "00000002", "00000004", "00000006"
	for _, row := range []struct{ asked, flags, leaves, other string }{
		{a1p1, none, a1p1, a2p2}, {a1p1, ip, a2p1, a2p2}, {a1p1, port, a1p2, a2p2}, {a1p1, both, a2p2, a2p2},
		{a1p2, none, a1p2, a2p1}, {a1p2, ip, a2p2, a2p1}, {a1p2, port, a1p1, a2p1}, {a1p2, both, a2p1, a2p1},
		{a2p1, none, a2p1, a1p2}, {a2p1, ip, a1p1, a1p2}, {a2p1, port, a2p2, a1p2}, {a2p1, both, a1p2, a1p2},
		{a2p2, none, a2p2, a1p1}, {a2p2, ip, a1p2, a1p1}, {a2p2, port, a2p1, a1p1}, {a2p2, both, a1p1, a1p1},
	} {
		for _, kind := range []struct {
			name, id      string
			origin, other attribute
		}{{"RFC 5780", cookie + id, responseOrigin, otherAddress}, {"RFC 3489", classicID, sourceAddress, changedAddress}} {
			request := wire(t, "0001 0008"+kind.id+"0003 0004"+row.flags)
			answer, from, o := Respond(nil, request, addr(client4), addr(row.asked), two)
			if o > AnsweredClassic || from != addr(row.leaves) {
				t.Errorf("%s, %s asked, flags %s: outcome %d, leaves from %v, want %s", kind.name, row.asked, row.flags, o, from, row.leaves)
				continue
			}
			if got := addressIn(t, answer, kind.origin); got != from {
				t.Errorf("%s, %s asked, flags %s: origin %v, want %v", kind.name, row.asked, row.flags, got, from)
			}
			if got := addressIn(t, answer, kind.other); got != addr(row.other) {
				t.Errorf("%s, %s asked, flags %s: other %v, want %s", kind.name, row.asked, row.flags, got, row.other)
			}
		}
	}
}

// addressIn is an address of IPv4 in an answer.
func addressIn(t *testing.T, answer []byte, kind attribute) netip.AddrPort {
	t.Helper()
	for rest := answer[headerSize:]; len(rest) > 0; {
		length := int(binary.BigEndian.Uint16(rest[2:]))
		if attribute(binary.BigEndian.Uint16(rest)) == kind && length == 8 {
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte(rest[8:12])), binary.BigEndian.Uint16(rest[6:]))
		}
		rest = rest[4+length:]
	}
	t.Errorf("no attribute %04x in %x", kind, answer)
	return netip.AddrPort{}
}

func TestOnlySoManyUnknownAttributesAreNamed(t *testing.T) {
	request := wire(t, "0001 0190"+cookie+id)
	for i := range 100 {
		request = binary.BigEndian.AppendUint32(request, uint32(0x4000+i)<<16)
	}
	answer, _, o := Respond(nil, request, addr(client4), addr(a1p1), oneAddress(t))
	if o != Refused || len(answer) > MaxAnswer {
		t.Errorf("outcome %d, %d bytes", o, len(answer))
	}
	readByAnother(t, answer, request, client4)
}

func TestAnsweringAllocatesNothing(t *testing.T) {
	two := twoAddresses(t)
	s := New(Config{Topology: two, Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Burst: 1 << 20})
	dst := make([]byte, 0, MaxAnswer)
	for _, row := range []struct{ name, from, to, request string }{
		{"RFC 8489", client4, a1p1, "0001 0000" + cookie + id},
		{"RFC 5780 over IPv6", client6, b1p1, "0001 0008" + cookie + id + "0003 0004 00000006"},
		{"RFC 3489", client4, a1p1, "0001 0008" + classicID + "0003 0004 00000006"},
		{"a refusal with a FINGERPRINT", client4, a1p1, rfc5769Request},
	} {
		request, from, to := wire(t, row.request), addr(row.from), addr(row.to)
		if n := testing.AllocsPerRun(100, func() { s.Answer(dst, request, from, to) }); n > 0 {
			t.Errorf("%s: %v allocations", row.name, n)
		}
	}
}

// Whatever comes: no panic, no answer that is larger than promised or to something that is not a Binding request, none
// from an address that is not ours, and nothing of ours that a client could take for a request.
func FuzzRespond(f *testing.F) {
	two, one := twoAddresses(f), oneAddress(f)
	for _, s := range []string{
		"0001 0000" + cookie + id, "0001 0000" + classicID, rfc5769Request,
		"0001 0008" + cookie + id + "0003 0004 00000006", "0001 0008" + classicID + "0003 0004 00000006",
		"0001 0008" + cookie + id + "8028 0004 fdf6ae02", "0001 0008" + classicID + "0020 0004 00000000",
		"0001 0018" + cookie + id + "0026 0004 00000000 0027 0004 13c40000 0026 0004 00000000",
		"0001 000c" + classicID + "0002 0008 0001 13c4 cb007107",
	} {
		f.Add(wire(f, s), true, true)
		f.Add(wire(f, s), false, false)
	}
	f.Fuzz(func(t *testing.T, request []byte, hasTwo, six bool) {
		topology, from, to, ours := one, addr(client4), addr(a1p1), addrs(a1p1)
		if six {
			from, to, ours = addr(client6), addr(b1p1), addrs(b1p1)
		}
		if hasTwo {
			topology, ours = two, two.Sockets()
		}
		before := bytes.Clone(request)
		answer, leaves, o := Respond(make([]byte, 0, MaxAnswer), request, from, to, topology)
		if !bytes.Equal(request, before) {
			t.Fatal("the request was changed")
		}
		if o > Refused {
			if len(answer) > 0 {
				t.Fatalf("outcome %d and an answer %x", o, answer)
			}
			return
		}
		switch {
		case len(answer) > MaxAnswer, len(answer) < headerSize:
			t.Fatalf("%d bytes", len(answer))
		case binary.BigEndian.Uint16(request) != bindingRequest:
			t.Fatal("answered what is not a Binding request")
		case answer[0] != 1 || answer[1] != 0x01 && answer[1] != 0x11:
			t.Fatalf("type %x", answer[:2])
		case !bytes.Equal(answer[4:headerSize], request[4:headerSize]):
			t.Fatal("another transaction")
		case !slices.Contains(ours, leaves) || leaves.Addr().Is4() != from.Addr().Is4():
			t.Fatalf("leaves from %v", leaves)
		}
		readByAnother(t, answer, request, from.String())
	})
}

func BenchmarkRespond(b *testing.B) {
	two := twoAddresses(b)
	s := New(Config{Topology: two, Burst: 1 << 30})
	request, from, to := wire(b, "0001 0000"+cookie+id), addr(client4), addr(a1p1)
	dst := make([]byte, 0, MaxAnswer)
	b.Run("the bytes", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			Respond(dst, request, from, to, two)
		}
	})
	b.Run("with the limit", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.Answer(dst, request, from, to)
		}
	})
}
