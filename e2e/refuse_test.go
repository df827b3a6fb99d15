//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"liaison/e2e/peer"
)

// What a caller hears of a call that never comes about, and what the record says.
func TestCallsThatAreNotAnswered(t *testing.T) {
	s := open(t)
	caller := s.baresip(t, "45675001", nil)
	caller.Register(t)
	callee := s.baresip(t, "45675002", func(c *peer.BaresipConfig) { c.Tone, c.MaxCalls, c.Ring = 1000, 1, 3 })
	callee.Register(t)
	third := s.baresip(t, "45675003", nil)
	third.Register(t)

	// closed waits for the end of the caller's call and wants it to begin with the status.
	closed := func(t *testing.T, b *peer.Baresip, status string) {
		t.Helper()
		if e := b.Wait(t, "CALL_CLOSED"); !strings.HasPrefix(e.Param, status) {
			t.Errorf("the call ended with %q, want %q", e.Param, status)
		}
	}
	record := func(t *testing.T, n int, status int) {
		t.Helper()
		if s.ours == nil {
			return
		}
		r := s.newestRecord(t, n)
		if got := r.text(t, "status"); got != fmt.Sprint(status) {
			t.Errorf("record says status %s, want %d: %v", got, status, r)
		}
		if r.text(t, "answered") != "" {
			t.Errorf("record says answered: %v", r)
		}
		if r.text(t, "cause") == "" {
			t.Errorf("record has no cause: %v", r)
		}
	}

	t.Run("the caller gives up while it rings", func(t *testing.T) {
		caller.Dial(t, "5002")
		callee.Wait(t, "CALL_INCOMING")
		caller.Wait(t, "CALL_RINGING")
		caller.Hangup(t)
		closed(t, caller, "")
		callee.Wait(t, "CALL_CLOSED")
		record(t, 1, 487)
	})
	t.Run("the callee refuses", func(t *testing.T) {
		caller.Dial(t, "5002")
		callee.Wait(t, "CALL_INCOMING")
		callee.Hangup(t)
		callee.Wait(t, "CALL_CLOSED")
		closed(t, caller, "486 ")
		record(t, 2, 486)
	})
	t.Run("nobody answers", func(t *testing.T) {
		caller.Dial(t, "5002")
		callee.Wait(t, "CALL_INCOMING")
		// baresip gives up ringing by itself, and says so with 486.
		closed(t, caller, "486 ")
		callee.Wait(t, "CALL_CLOSED")
		record(t, 3, 486)
	})
	t.Run("the callee is busy", func(t *testing.T) {
		third.Dial(t, "5002")
		callee.Wait(t, "CALL_INCOMING")
		callee.Accept(t)
		third.Wait(t, "CALL_ESTABLISHED")
		caller.Dial(t, "5002")
		closed(t, caller, "486 ")
		third.Hangup(t)
		third.Wait(t, "CALL_CLOSED")
		callee.Wait(t, "CALL_CLOSED")
	})
	t.Run("the number does not exist", func(t *testing.T) {
		caller.Dial(t, "45679999")
		closed(t, caller, "404 ")
	})
	t.Run("the short number does not exist", func(t *testing.T) {
		caller.Dial(t, "5999")
		closed(t, caller, "404 ")
	})
	t.Run("the number is not registered", func(t *testing.T) {
		caller.Dial(t, "45675004")
		closed(t, caller, "480 ")
	})
	t.Run("a short number stays inside its group", func(t *testing.T) {
		other := s.baresip(t, "45995002", nil)
		other.Register(t)
		other.Dial(t, "5001")
		closed(t, other, "404 ")
		if caller.Seen("CALL_INCOMING") {
			t.Error("it rang in the other group")
		}
	})
	t.Run("a caller with a wrong password", func(t *testing.T) {
		stranger := s.baresip(t, "45675005", func(c *peer.BaresipConfig) { c.Password = "wrong" })
		stranger.Unregistered(t)
		stranger.Dial(t, "5001")
		closed(t, stranger, "40")
		if caller.Seen("CALL_INCOMING") {
			t.Error("it rang although the caller's password was wrong")
		}
	})
	t.Run("a caller without an account", func(t *testing.T) {
		stranger := s.baresip(t, "45678888", nil)
		stranger.Unregistered(t)
		stranger.Dial(t, "45675001")
		closed(t, stranger, "40")
		if caller.Seen("CALL_INCOMING") {
			t.Error("it rang although the caller has no account")
		}
	})
	t.Run("an account that is not registered may call", func(t *testing.T) {
		guest := s.baresip(t, "45675005", nil)
		guest.Unregistered(t)
		guest.Dial(t, "5001")
		caller.Wait(t, "CALL_INCOMING")
		guest.Hangup(t)
		closed(t, caller, "")
	})
}
