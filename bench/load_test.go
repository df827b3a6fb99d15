package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
)

// toy answers every request with what answer makes of it, one or more
// datagrams; "" is silence.
func toy(t *testing.T, answer func(m *message) []string) netip.AddrPort {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() { c.Close(); <-ended })
	go func() {
		defer close(ended)
		b := make([]byte, datagram)
		for {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			var m message
			if err != nil || m.scan(b[:n]) != nil {
				t.Errorf("the generator sent %q, %v", b[:n], err)
				continue
			}
			for _, a := range answer(&m) {
				if _, err := c.WriteToUDPAddrPort([]byte(a), from); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

func reply(m *message, status, more string) string {
	return string(appendResponse(nil, m, status, "toy")) + more + "Content-Length: 0\r\n\r\n"
}

func drive(t *testing.T, server netip.AddrPort, w work, operations int) (counts, error) {
	t.Helper()
	l, err := newLoad(server, 20, 4, true)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	return l.run(context.Background(), w, operations, 0)
}

func TestLoadCountsWhatWasAnswered(t *testing.T) {
	server := toy(t, func(m *message) []string { return []string{reply(m, "200 OK", "")} })
	c, err := drive(t, server, options{}, 100)
	if err != nil || c.done != 100 || c.failed != 0 {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestLoadAnswersTheServersPings(t *testing.T) {
	server := toy(t, func(m *message) []string {
		if m.status != 0 {
			return nil
		}
		ping := "OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP p\r\nFrom: f\r\nTo: t\r\nCall-ID: ping\r\nCSeq: 1 OPTIONS\r\n\r\n"
		return []string{ping, reply(m, "200 OK", "")}
	})
	c, err := drive(t, server, options{}, 10)
	if err != nil || c.pings != 10 {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestRegistrationCarriesTheCredentialsThatWereAskedFor(t *testing.T) {
	var asked atomic.Int32
	server := toy(t, func(m *message) []string {
		if n := asked.Add(1); n%2 == 1 {
			return []string{reply(m, "401 Unauthorized", fmt.Sprintf("WWW-Authenticate: Digest realm=\"liaison\", nonce=\"n%d\", qop=\"auth\"\r\n", n))}
		}
		return []string{reply(m, "200 OK", "Contact: "+string(m.contact)+";expires=300\r\n")}
	})
	l, err := newLoad(server, 20, 1, false)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	c, err := l.run(context.Background(), registration{}, 20, 0)
	if err != nil || c.done != 20 || asked.Load() != 40 {
		t.Errorf("%+v after %d requests, %v", c, asked.Load(), err)
	}
}

func TestAWrongAnswerFailsTheRun(t *testing.T) {
	for name, row := range map[string]struct {
		work   work
		answer func(m *message) []string
	}{
		"OPTIONS refused": {options{}, func(m *message) []string { return []string{reply(m, "503 Overload", "")} }},
		"a registration without a challenge": {registration{}, func(m *message) []string {
			return []string{reply(m, "200 OK", "Contact: "+string(m.contact)+"\r\n")}
		}},
		"another realm": {registration{}, func(m *message) []string {
			return []string{reply(m, "401 No", "WWW-Authenticate: Digest realm=\"x\", nonce=\"n\"\r\n")}
		}},
		"a call that is not there": {call{}, func(m *message) []string {
			if string(m.method) == "ACK" {
				return nil
			}
			return []string{reply(m, "404 Not Found", "")}
		}},
		"a call answered by the server itself": {call{}, func(m *message) []string {
			if string(m.method) == "ACK" {
				return nil
			}
			if m.cseq == 1 {
				return []string{reply(m, "407 No", "Proxy-Authenticate: Digest realm=\"liaison\", nonce=\"n\"\r\n")}
			}
			return []string{reply(m, "100 Trying", ""), reply(m, "486 Busy", "")}
		}},
		"what is no SIP": {options{}, func(m *message) []string { return []string{"nonsense", reply(m, "200 OK", "")} }},
	} {
		_, err := drive(t, toy(t, row.answer), row.work, 8)
		if err == nil || !strings.Contains(err.Error(), "operations failed") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
