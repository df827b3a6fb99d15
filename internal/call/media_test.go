package call

import (
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestSilenceOfMostCallsIsOurOutage(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	for _, row := range []struct {
		name               string
		calls, silent, ago int // seconds since they were told to be silent
		ours               bool
	}{
		{"the only call is silent: its agents are gone", 1, 1, 0, false},
		{"one of two", 2, 1, 0, false},
		{"both of two", 2, 2, 0, true},
		{"two of four are not most", 4, 2, 0, false},
		{"three of four", 4, 3, 0, true},
		{"all, but long ago", 4, 4, 120, false},
	} {
		cs := &Calls{byID: map[string]*Call{}}
		for i := range row.calls {
			c := &Call{}
			if i < row.silent {
				c.hushed.Store(now.Add(-time.Duration(row.ago) * time.Second).UnixNano())
			}
			cs.byID[strconv.Itoa(i)] = c
		}
		if got := cs.mostAreSilent(now); got != row.ours {
			t.Errorf("%s: ours %t", row.name, got)
		}
	}
}

func TestARelayAddressIsOneThatTheAgentCanReach(t *testing.T) {
	for _, row := range []struct{ name, all, at, want string }{
		{"the one that the agent uses", "192.0.2.1 10.0.0.1 127.0.0.1", "10.0.0.1", "10.0.0.1"},
		{"another of the family where that is not the relay's", "192.0.2.1 127.0.0.1", "10.0.0.9", "192.0.2.1"},
		{"never loopback for others", "127.0.0.1", "10.0.0.9", ""},
		{"never another for loopback", "192.0.2.1", "127.0.0.1", ""},
		{"not of the other family", "192.0.2.1 2001:db8::1", "2001:db8::9", "2001:db8::1"},
	} {
		var all []netip.Addr
		for _, a := range strings.Fields(row.all) {
			all = append(all, netip.MustParseAddr(a))
		}
		got, ok := relayAddress(all, netip.MustParseAddr(row.at))
		if ok != (row.want != "") || ok && got.String() != row.want {
			t.Errorf("%s: %v %t", row.name, got, ok)
		}
	}
}
