//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"liaison/e2e/lab"
	"liaison/e2e/peer"
)

func TestBaresipRegisters(t *testing.T) {
	s := open(t)
	for i, row := range []struct{ name, server, transport string }{
		{"over UDP, by our name", serverName, ""},
		{"over UDP, by our name, on the second port", serverName + ":5070", ""},
		{"over UDP, by our bare address", serverAddr, ""},
		{"over UDP, by our bare address, on the second port", serverAddr + ":5070", ""},
		{"over TCP, by our name", serverName, "tcp"},
		{"over TCP, by our name, on the second port", serverName + ":5070", "tcp"},
		{"over TCP, by our bare address", serverAddr, "tcp"},
		{"over TCP, by our bare address, on the second port", serverAddr + ":5070", "tcp"},
	} {
		number := numbers[i%len(numbers)]
		t.Run(row.name, func(t *testing.T) {
			b := s.baresip(t, number, func(c *peer.BaresipConfig) { c.Server, c.Transport = row.server, row.transport })
			b.Register(t)
			if s.ours != nil {
				r := s.binding(t, number)
				if got := r.text(t, "contact"); !strings.Contains(got, "@"+b.Host.Addr.String()+":") {
					t.Errorf("contact is %q, want one at %v", got, b.Host.Addr)
				}
			}
			// baresip takes its registration back when it is asked to end.
			b.Process.Stop(t, peer.Soon)
			if s.ours != nil {
				lab.Eventually(t, peer.Soon, "the binding goes", func() bool { return len(s.bindings(t, number)) == 0 })
			}
		})
	}
}

func TestLinphoneRegisters(t *testing.T) {
	s := open(t)
	for i, row := range []struct{ name, server, transport string }{
		{"over UDP, by our name", serverName, "udp"},
		{"over TCP, by our bare address, on the second port", serverAddr + ":5070", "tcp"},
	} {
		t.Run(row.name, func(t *testing.T) {
			l := s.linphone(t, numbers[i], func(c *peer.LinphoneConfig) { c.Server, c.Transport = row.server, row.transport })
			l.Registered(t)
			if s.ours != nil {
				s.binding(t, numbers[i])
			}
		})
	}
}

func TestWrongPasswordAndUnknownNumberAreRefusedAlike(t *testing.T) {
	s := open(t)
	wrong := s.baresip(t, "45675001", func(c *peer.BaresipConfig) { c.Password = "wrong" })
	unknown := s.baresip(t, "45679999", nil)
	a, b := wrong.RegisterFails(t), unknown.RegisterFails(t)
	if a != b {
		t.Errorf("a wrong password gets %q, an unknown number %q: a stranger could tell them apart", a, b)
	}
	if s.ours != nil {
		if rows := s.ours.List(t, "binding"); len(rows) > 0 {
			t.Errorf("bindings after refused registrations: %v", rows)
		}
	}
	// The owner is not locked out by it.
	s.baresip(t, "45675001", nil).Register(t)
}

func TestLockedAccountIsRefusedWithAReason(t *testing.T) {
	s := open(t)
	s.onlyOurs(t).Run(t, "account", "lock", "45675001")
	b := s.baresip(t, "45675001", nil)
	// The running server learns of it within a second; until then it may register.
	lab.Eventually(t, peer.Soon, "a locked account is refused", func() bool {
		p := s.baresip(t, "45675001", nil)
		defer p.Process.Kill()
		return strings.HasPrefix(p.RegisterResult(t), "403 ")
	})
	if reason := b.RegisterFails(t); !strings.HasPrefix(reason, "403 ") || !strings.Contains(strings.ToLower(reason), "locked") {
		t.Errorf("refused with %q, want a 403 that says locked", reason)
	}
	s.ours.Run(t, "account", "unlock", "45675001")
	lab.Eventually(t, peer.Soon, "an unlocked account registers", func() bool {
		p := s.baresip(t, "45675001", nil)
		defer p.Process.Kill()
		return strings.HasPrefix(p.RegisterResult(t), "200 ")
	})
}

// bindings are the rows of a number.
func (s *stage) bindings(t testing.TB, number string) []row {
	t.Helper()
	var mine []row
	for _, r := range s.ours.List(t, "binding") {
		if r.text(t, "number") == number {
			mine = append(mine, r)
		}
	}
	return mine
}

// binding is the only row of a number.
func (s *stage) binding(t testing.TB, number string) row {
	t.Helper()
	rows := s.bindings(t, number)
	if len(rows) != 1 {
		t.Fatalf("%d bindings of %s, want 1: %v", len(rows), number, rows)
	}
	return rows[0]
}
