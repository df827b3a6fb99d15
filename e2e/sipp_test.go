//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"liaison/e2e/peer"
)

// What softphones do not do, between two SIPp through the service.
func TestSIPpCallsSIPp(t *testing.T) {
	s := open(t)
	called, calling := s.site(t), s.site(t)
	port := s.sippRegistered(t, called, "45675002")
	for _, row := range []struct {
		name, caller, callee string
		want                 string // the final status that the caller gets, for caller "refused-caller"
		records              int    // the status that the record shows
		both                 []string
	}{
		{"a plain call", "call", "answer", "", 200, nil},
		{"a session description of 3,000 bytes over UDP passes byte for byte", "big-caller", "big-callee", "", 200,
			[]string{bigLines()}},
		{"a delayed offer", "delayed-caller", "delayed-callee", "", 200, nil},
		{"early media, PRACK, UPDATE, INFO and a session timer", "reliable-caller", "reliable-callee", "", 200, nil},
		{"a strict router before us", "strict-caller", "answer", "", 200, nil},
		{"compact forms, folded lines and long headers", "compact-caller", "compact-callee", "", 200,
			[]string{"X-Liaison-Long: " + strings.Repeat("0123456789", 140) + "end"}},
		{"a redirection is not followed", "refused-caller", "redirect-callee", "302", 302, nil},
		{"a call is declined", "refused-caller", "decline-callee", "603", 603, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.caller == "compact-caller" {
				s.onlyOurs(t) // Kamailio 5.6 says nothing to these folded lines
			}
			before := 0
			if s.ours != nil {
				before = len(s.ours.List(t, "record"))
			}
			callee := peer.StartSIPp(t, called, row.callee, peer.SIPpConfig{
				Scenario: scenario(t, row.callee), Number: "45675002", Password: password("45675002"), Port: port,
				Keys: map[string]string{"elsewhere": "45675003"},
			})
			caller := peer.StartSIPp(t, calling, row.caller, peer.SIPpConfig{
				Scenario: scenario(t, row.caller, "WANT", row.want), Number: "45675001", Password: password("45675001"),
				Server: serverAddr + ":5060", Calls: 1, Keys: map[string]string{"callee": "45675002"},
			})
			caller.Passed(t)
			callee.Passed(t)
			for _, text := range row.both {
				for who, side := range map[string]*peer.SIPp{"caller": caller, "callee": callee} {
					if !strings.Contains(side.Messages(t), text) {
						t.Errorf("the %s's messages do not contain %.60q...", who, text)
					}
				}
			}
			if s.ours != nil {
				r := s.newestRecord(t, before+1)
				if got := r.text(t, "status"); got != fmt.Sprint(row.records) {
					t.Errorf("record says status %s, want %d: %v", got, row.records, r)
				}
			}
		})
	}
}

// bigLines is what the big scenarios put into their session description beside the usual.
func bigLines() string {
	var b strings.Builder
	for i := range 27 {
		fmt.Fprintf(&b, "a=x-liaison-%03d:%s\r\n", i, strings.Repeat("0123456789", 9))
	}
	return b.String() + "a=x-liaison-last:end"
}
