//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"liaison/e2e/lab"
	"liaison/e2e/peer"
)

// What a newcomer does first: serve --demo, and two softphones with what it printed.
func TestDemonstration(t *testing.T) {
	t.Parallel()
	s := &stage{Network: lab.NewNetwork(t)}
	s.server = s.Host(t, "server", serverAddr)
	dir := lab.Dir(t)
	cmd := s.server.Command(binary(t), "serve", "--demo")
	cmd.Dir = dir
	l := &Liaison{host: s.server, data: filepath.Join(dir, "data"), config: os.DevNull}
	l.Process = lab.Start(t, "liaison serve --demo", cmd)
	l.ready(t)
	s.ours = l

	file := filepath.Join(l.data, "demo.txt")
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("demo.txt has mode %v, want 0600", info.Mode().Perm())
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	passwords := map[string]string{}
	for _, m := range regexp.MustCompile(`(4567500[12])\s+password\s+(\S+)`).FindAllStringSubmatch(string(text), -1) {
		passwords[m[1]] = m[2]
		// It is said at each start, with how to point a softphone at it.
		l.Process.Line(t, peer.Soon, m[1]+`.*`+m[2])
	}
	if len(passwords) != 2 || passwords["45675001"] == passwords["45675002"] {
		t.Fatalf("demo.txt has not two accounts with their own passwords:\n%s", text)
	}
	agent := func(number string, tone int) *peer.Baresip {
		return peer.StartBaresip(t, s.site(t), peer.BaresipConfig{Number: number, Password: passwords[number], Server: serverAddr, Tone: tone})
	}
	a, b := agent("45675001", 440), agent("45675002", 1000)
	a.Register(t)
	b.Register(t)
	a.Dial(t, "5002")
	b.Wait(t, "CALL_INCOMING")
	b.Accept(t)
	hears(t, "the caller", a.Hears(t, 1), 1000, 440)
	hears(t, "the callee", b.Hears(t, 1), 440, 1000)
	a.Hangup(t)
	a.Wait(t, "CALL_CLOSED")
	s.newestRecord(t, 1)
	a.Dial(t, "15000")
	a.Wait(t, "CALL_ESTABLISHED")
	a.Hears(t, 1)
}

// Health is for everybody, metrics are for this machine.
func TestHealthAndMetrics(t *testing.T) {
	s := open(t)
	ours := s.onlyOurs(t)
	_, port, err := net.SplitHostPort(ours.Web[len("http://"):])
	if err != nil {
		t.Fatal(err)
	}
	get := func(from *lab.Host, host, path string) (int, string) {
		t.Helper()
		client := http.Client{Timeout: peer.Soon, Transport: &http.Transport{DisableKeepAlives: true,
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				return from.Dial(ctx, network, addr)
			}}}
		resp, err := client.Get("http://" + net.JoinHostPort(host, port) + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	elsewhere := s.site(t)
	status, body := get(elsewhere, serverAddr, "/healthz")
	if status != 200 || !json.Valid([]byte(body)) {
		t.Errorf("/healthz: %d %s", status, body)
	}
	if status, body := get(elsewhere, serverAddr, "/metrics"); status != 403 {
		t.Errorf("/metrics from another host: %d %.200s", status, body)
	}
	status, body = get(s.server, "127.0.0.1", "/metrics")
	if status != 200 || !regexp.MustCompile(`(?m)^liaison_\w+`).MatchString(body) {
		t.Errorf("/metrics from this machine: %d %.200s", status, body)
	}
}

// A dead agent is shown before its registration runs out.
func TestDeadAgentIsShownUnreachable(t *testing.T) {
	s := open(t)
	s.onlyOurs(t)
	b := s.baresip(t, "45675001", nil)
	b.Register(t)
	lab.Eventually(t, 90*time.Second, "it has answered a keep-alive", func() bool {
		return s.binding(t, "45675001").text(t, "state") == "reachable"
	})
	b.Host.Cut(t)
	lab.Eventually(t, 95*time.Second, "it is shown unreachable within 90 s", func() bool {
		return s.binding(t, "45675001").text(t, "state") == "unreachable"
	})
	b.Host.Mend(t)
	lab.Eventually(t, 95*time.Second, "it is shown reachable again", func() bool {
		return s.binding(t, "45675001").text(t, "state") == "reachable"
	})
}
