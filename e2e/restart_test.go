//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"liaison/e2e/lab"
	"liaison/e2e/peer"
)

// kill -9 while a crowd registers, early, in the middle and late: whoever was told 200 is there
// after the restart.
func TestKilledDuringRegistrations(t *testing.T) {
	s := open(t)
	ours := s.onlyOurs(t)
	const crowd = 500
	rounds := []int{20, 200, 400} // so many are registered when the kill comes
	number := func(round, i int) string { return fmt.Sprintf("60%02d%04d", round, i) }
	var accounts strings.Builder
	accounts.WriteString("number,password\n")
	for round := range rounds {
		for i := range crowd {
			fmt.Fprintf(&accounts, "%s,%s\n", number(round, i), password(number(round, i)))
		}
	}
	// A running server follows within a second; a new one knows them at once.
	ours.Process.Stop(t, 10*time.Second)
	ours.Run(t, "account", "import", lab.Write(t, lab.Dir(t), "crowd.csv", accounts.String()))
	ours.Start(t)
	h := s.site(t)
	registered := map[string]bool{}
	for round, enough := range rounds {
		var rows strings.Builder
		rows.WriteString("SEQUENTIAL\n")
		for i := range crowd {
			rows.WriteString(registerRow(number(round, i)))
		}
		p := peer.StartSIPp(t, h, "crowd", peer.SIPpConfig{Scenario: scenario(t, "register"), Server: serverAddr + ":5060",
			CSV: rows.String(), Calls: crowd, Rate: 500})
		lab.Eventually(t, peer.Soon, "some are registered", func() bool { return len(acknowledged(p.Messages(t))) >= enough })
		ours.Process.Kill()
		p.Kill()
		now := acknowledged(p.Messages(t))
		if len(now) >= crowd {
			t.Fatalf("all %d were registered before the kill: it came too late to prove anything", crowd)
		}
		for n := range now {
			registered[n] = true
		}
		ours.Start(t)
		there := map[string]bool{}
		for _, r := range ours.List(t, "binding") {
			there[r.text(t, "number")] = true
		}
		for n := range registered {
			if !there[n] {
				t.Errorf("%s was told 200 and is not there after restart %d", n, round+1)
			}
		}
		t.Logf("restart %d: %d of %d acknowledged, %d bindings", round+1, len(now), crowd, len(there))
	}
}

// acknowledged are the numbers that got 200 to a REGISTER.
func acknowledged(messages string) map[string]bool {
	to := regexp.MustCompile(`(?m)^To:.*sip:([0-9]+)@`)
	out := map[string]bool{}
	for _, m := range strings.Split(messages, "message received")[1:] {
		m, _, _ := strings.Cut(m, "-----")
		if strings.Contains(m, "SIP/2.0 200") && strings.Contains(m, "REGISTER") {
			if n := to.FindStringSubmatch(m); n != nil {
				out[n[1]] = true
			}
		}
	}
	return out
}

// kill -9 in the middle of a call, and SIGTERM in the middle of one: both sides go on, the service
// knows the call afterwards, and it can be hung up.
func TestCallSurvivesARestart(t *testing.T) {
	for _, row := range []struct {
		name string
		stop func(t *testing.T, p *lab.Process)
	}{
		{"kill -9", func(t *testing.T, p *lab.Process) { p.Kill() }},
		{"SIGTERM drains and ends within 10 s", func(t *testing.T, p *lab.Process) {
			p.Signal(syscall.SIGTERM)
			if code := p.Ended(t, 10*time.Second); code != 0 {
				t.Errorf("exit status %d, want 0", code)
			}
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := open(t)
			ours := s.onlyOurs(t)
			callee := s.baresip(t, "45675002", func(c *peer.BaresipConfig) { c.Tone, c.Answer = 1000, "auto" })
			caller := s.baresip(t, "45675001", nil)
			callee.Register(t)
			caller.Register(t)
			// One call that is over, one that is up.
			caller.Dial(t, "45675002")
			caller.Wait(t, "CALL_ESTABLISHED")
			caller.Hangup(t)
			caller.Wait(t, "CALL_CLOSED")
			callee.Wait(t, "CALL_CLOSED")
			caller.Dial(t, "5002")
			caller.Wait(t, "CALL_ESTABLISHED")
			callee.Wait(t, "CALL_ESTABLISHED")
			caller.Hears(t, 0.5)
			before := map[string]string{}
			for _, noun := range []string{"binding", "record", "call"} {
				before[noun] = facts(t, ours, noun)
			}
			if n := len(ours.List(t, "call")); n != 1 {
				t.Fatalf("%d calls before the restart, want 1", n)
			}

			row.stop(t, ours.Process)
			began := time.Now()
			ours.Start(t)
			t.Logf("ready again %v after it was gone", time.Since(began).Round(time.Millisecond))

			for _, noun := range []string{"binding", "record", "call"} {
				if after := facts(t, ours, noun); after != before[noun] {
					t.Errorf("%s list before:\n%s\nafter:\n%s", noun, before[noun], after)
				}
			}
			heard := caller.Hears(t, 1).Seconds()
			hears(t, "the caller", caller.Hears(t, heard+1), 1000, 440)
			hears(t, "the callee", callee.Hears(t, heard+1), 440, 1000)
			callee.Hangup(t)
			callee.Wait(t, "CALL_CLOSED")
			caller.Wait(t, "CALL_CLOSED")
			r := s.newestRecord(t, 2)
			if r.text(t, "ended_by") != "callee" || r.text(t, "status") != "200" {
				t.Errorf("record of the call that outlived the restart: %v", r)
			}
			// And a registration of before the restart still receives calls.
			caller.Dial(t, "5002")
			caller.Wait(t, "CALL_ESTABLISHED")
		})
	}
}

// facts is a list without what may change by itself: when a binding was last seen and until when it
// holds, how long a call has lasted.
func facts(t testing.TB, l *Liaison, noun string) string {
	t.Helper()
	var b strings.Builder
	for _, r := range l.List(t, noun) {
		for _, field := range []string{"seen", "state", "expires", "duration_s"} {
			delete(r, field)
		}
		fmt.Fprintln(&b, r)
	}
	return b.String()
}

// What cannot start says so in one line and exits 1.
func TestSecondServerOnTheSamePorts(t *testing.T) {
	s := open(t)
	s.onlyOurs(t)
	second := NewLiaison(t, s.server, "")
	out, stderr, code := runHere(t, s.server.Command(binary(t), "serve", "--config", second.config, "--data", second.data))
	if code != 1 || strings.Contains(out, "ready") || !strings.Contains(stderr, "5060") {
		t.Errorf("exit %d, stdout %q, stderr %q: want exit 1 and a line that names the port", code, out, stderr)
	}
	if _, err := os.Stat(second.data + "/demo.txt"); err == nil {
		t.Error("demonstration accounts were made without --demo")
	}
}

// A backup of the running service, put into another data folder, knows what it knew.
func TestBackupOfTheRunningService(t *testing.T) {
	s := open(t)
	ours := s.onlyOurs(t)
	b := s.baresip(t, "45675001", nil)
	b.Register(t)
	if _, code := s.call(t, s.site(t), "45675002", password("45675002"), "--for", "1s", "15000"); code != 0 {
		t.Fatalf("the call to be remembered failed with %d", code)
	}
	s.newestRecord(t, 1)
	file := lab.Dir(t) + "/backup"
	ours.Run(t, "backup", file)
	other := NewLiaison(t, s.site(t), "")
	other.Run(t, "restore", file)
	for _, noun := range []string{"subscriber", "account", "binding", "record"} {
		if was, is := facts(t, ours, noun), facts(t, other, noun); was != is || was == "" {
			t.Errorf("%s list before:\n%s\nafter:\n%s", noun, was, is)
		}
	}
	// The passwords came along.
	other.Start(t)
	restored := peer.StartBaresip(t, s.site(t), peer.BaresipConfig{
		Number: "45675001", Password: password("45675001"), Server: other.host.Addr.String()})
	restored.Register(t)
}
