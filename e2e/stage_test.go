//go:build e2e

package e2e

import (
	"embed"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"liaison/e2e/audio"
	"liaison/e2e/lab"
	"liaison/e2e/peer"
)

//go:embed scenario/*.xml
var scenarios embed.FS

func TestMain(m *testing.M) {
	flag.Parse()
	// These tests wait for each other's programs far more than they compute.
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("6")
	}
	code := m.Run()
	if path, err := built(); err == nil && os.Getenv("E2E_LIAISON") == "" {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// The numbers of every stage: two of one group, more of it, and one of another group.
var numbers = []string{"45675001", "45675002", "45675003", "45675004", "45675005", "45995002"}

func password(number string) string { return "pass-" + number }

const (
	serverAddr = "203.0.113.1"
	serverName = "sip.example.test"
)

// stage is a network with the service on it.
type stage struct {
	*lab.Network
	server *lab.Host
	ours   *Liaison // nil when a Kamailio stands in its place
	hosts  int
}

// open makes one for a test that runs beside the others.
func open(t *testing.T) *stage { t.Helper(); return openWith(t, "") }

// openWith makes one with further lines in the service's configuration.
func openWith(t *testing.T, config string) *stage {
	t.Helper()
	t.Parallel()
	s := &stage{Network: lab.NewNetwork(t)}
	s.server = s.Host(t, "server", serverAddr)
	s.Names.Set(serverName, s.server.Addr)
	if os.Getenv("E2E_SERVICE") == "kamailio" {
		passwords := map[string]string{}
		for _, n := range numbers {
			passwords[n] = password(n)
		}
		peer.StartKamailio(t, s.server, "liaison", []string{serverName, serverAddr}, passwords)
		return s
	}
	s.ours = NewLiaison(t, s.server, "domains: [{name: "+serverName+"}]\nlog: {level: debug}\n"+config)
	var csv strings.Builder
	csv.WriteString("number,password\n")
	for _, n := range numbers {
		fmt.Fprintf(&csv, "%s,%s\n", n, password(n))
	}
	s.ours.Run(t, "account", "import", lab.Write(t, lab.Dir(t), "accounts.csv", csv.String()))
	s.ours.Start(t)
	return s
}

// onlyOurs skips what a plain Kamailio cannot do.
func (s *stage) onlyOurs(t *testing.T) *Liaison {
	t.Helper()
	if s.ours == nil {
		t.Skip("needs our service")
	}
	return s.ours
}

// site is a host for one more agent.
func (s *stage) site(t testing.TB) *lab.Host {
	t.Helper()
	s.hosts++
	return s.Host(t, fmt.Sprintf("agent%d", s.hosts), fmt.Sprintf("203.0.113.%d", 10+s.hosts))
}

// baresip starts one with the number's password; change may be nil.
func (s *stage) baresip(t testing.TB, number string, change func(*peer.BaresipConfig)) *peer.Baresip {
	t.Helper()
	c := peer.BaresipConfig{Number: number, Password: password(number), Server: serverName}
	if change != nil {
		change(&c)
	}
	return peer.StartBaresip(t, s.site(t), c)
}

func (s *stage) linphone(t testing.TB, number string, change func(*peer.LinphoneConfig)) *peer.Linphone {
	t.Helper()
	c := peer.LinphoneConfig{Number: number, Password: password(number), Server: serverName, Realm: "liaison", Tone: 440}
	if change != nil {
		change(&c)
	}
	return peer.StartLinphone(t, s.site(t), c)
}

// scenario is the text of one of ours, with words replaced in pairs.
func scenario(t testing.TB, name string, replace ...string) string {
	t.Helper()
	b, err := scenarios.ReadFile("scenario/" + name + ".xml")
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer(replace...).Replace(string(b))
}

// sippRegistered registers a number from a port of a host, with the number's password, and gives
// the port: a scenario that answers there is called.
func (s *stage) sippRegistered(t testing.TB, h *lab.Host, number string) int {
	t.Helper()
	port := h.FreePort(t)
	peer.StartSIPp(t, h, "register", peer.SIPpConfig{
		Scenario: scenario(t, "register"), Server: serverAddr + ":5060", Port: port, Calls: 1,
		CSV: "SEQUENTIAL\n" + registerRow(number),
	}).Passed(t)
	return port
}

func registerRow(number string) string {
	return fmt.Sprintf("%s;[authentication username=%s password=%s]\n", number, number, password(number))
}

// newestRecord waits until there are n records and the newest is complete.
func (s *stage) newestRecord(t testing.TB, n int) row {
	t.Helper()
	return s.newestRecordWithin(t, peer.Soon, n)
}

func (s *stage) newestRecordWithin(t testing.TB, d time.Duration, n int) row {
	t.Helper()
	var newest row
	var last []row
	lab.Eventually(t, d, fmt.Sprintf("%d records, the newest of them complete", n), func() bool {
		last = s.ours.List(t, "record")
		if len(last) != n {
			return false
		}
		newest = last[0]
		for _, r := range last {
			if r.text(t, "started") > newest.text(t, "started") {
				newest = r
			}
		}
		return newest.text(t, "ended") != ""
	})
	return newest
}

// hears fails the test unless the recording is the other side's tone: loud as it was sent, without
// holes, and without one's own.
func hears(t testing.TB, who string, r *audio.Recording, want, own float64) {
	t.Helper()
	hearsAtLeast(t, who, r, want, own, 0.9, 100*time.Millisecond)
}

// linphoneHears allows the holes that linphone's own jitter buffer makes while it settles.
func linphoneHears(t testing.TB, r *audio.Recording, want, own float64) {
	t.Helper()
	hearsAtLeast(t, "linphone", r, want, own, 0.75, 300*time.Millisecond)
}

func hearsAtLeast(t testing.TB, who string, r *audio.Recording, want, own, share float64, hole time.Duration) {
	t.Helper()
	// The first packets may come before both ends are ready.
	r = r.From(0.2)
	for c := range r.Channels {
		got := r.Find(c, want)
		if got.Pure < time.Duration(share*r.Seconds()*float64(time.Second)) || got.Gap > hole {
			t.Errorf("%s, channel %d, of %.1f s: %v", who, c, r.Seconds(), got)
		}
		// Both softphones send at half of full scale.
		if got.Level < -8 || got.Level > -4 {
			t.Errorf("%s, channel %d: level %.1f dBFS, sent at -6", who, c, got.Level)
		}
		if echo := r.Find(c, own); echo.Pure > 0 {
			t.Errorf("%s, channel %d, hears itself: %v", who, c, echo)
		}
	}
}
