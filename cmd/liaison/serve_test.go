package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// service is `liaison serve` in this process, on ports that were free.
type service struct {
	file     string // configuration
	data     string
	udp, tcp string
	web      string
	stop     func() int // gives the exit code
}

// testLog is where a service logs to.
type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimSuffix(string(p), "\n"))
	return len(p), nil
}

// configure makes a service that does not run yet.
func configure(t *testing.T, udp string) *service {
	t.Helper()
	dir := t.TempDir()
	s := &service{data: filepath.Join(dir, "data"), file: filepath.Join(dir, "liaison.yaml")}
	text := "data: " + s.data + "\nsip: {udp: '" + udp + "', tcp: '127.0.0.1:0'}\nweb: {listen: '127.0.0.1:0'}\nstun: {listen: '127.0.0.1:0'}\n"
	if err := os.WriteFile(s.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// serve starts it and waits until it is ready.
func (s *service) serve(t *testing.T, args ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, append([]string{"serve", "--config", s.file}, args...), w, testLog{t})
		w.Close()
	}()
	s.stop = func() int {
		cancel()
		c := <-code
		code <- c
		return c
	}
	t.Cleanup(func() { s.stop() })

	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatalf("no ready line: %v", err)
	}
	go io.Copy(io.Discard, r)
	m := regexp.MustCompile(`^ready sip=udp:(127\.0\.0\.1:\d+),tcp:(127\.0\.0\.1:\d+) web=(http://127\.0\.0\.1:\d+)\n$`).FindStringSubmatch(line)
	if m == nil {
		t.Fatalf("the ready line is %q", line)
	}
	s.udp, s.tcp, s.web = m[1], m[2], m[3]
}

// liaison runs a subcommand on the service's data and wants it to be done; --json results go into result.
func (s *service) liaison(t *testing.T, result any, args ...string) {
	t.Helper()
	var out strings.Builder
	if code := run(t.Context(), append([]string{"--json", "--config", s.file}, args...), &out, testLog{t}); code != exitDone {
		t.Fatalf("liaison %q: exit code %d\n%s", args, code, out.String())
	}
	if err := json.Unmarshal([]byte(out.String()), result); err != nil {
		t.Fatalf("liaison %q: %v\n%s", args, err, out.String())
	}
}

func TestCallToTheTestNumber(t *testing.T) {
	s := configure(t, "127.0.0.1:0")
	var sub struct{ Accounts []credentials }
	s.liaison(t, &sub, "subscriber", "add", "--name", "Radio Exemple", "--email", "tech@radio.example", "--accounts", "1")
	me := sub.Accounts[0]
	s.serve(t)

	for transport, server := range map[string]string{"udp": s.udp, "tcp": s.tcp} {
		wav := filepath.Join(t.TempDir(), "heard.wav")
		var report struct {
			Number   string
			Answered bool
			Status   int
			Codec    string
			Received struct{ Packets int }
			Error    *string
		}
		s.liaison(t, &report, "call", "--account", me.Number, "--password", me.Password, "--server", server,
			"--transport", transport, "--codec", "PCMA", "--for", "1s", "--wav", wav, "15000")
		if report.Number != "15000" || !report.Answered || report.Status != 200 || report.Codec != "PCMA/8000/1" || report.Received.Packets == 0 || report.Error != nil {
			t.Errorf("%s: the report is %+v", transport, report)
		}
		if info, err := os.Stat(wav); err != nil || info.Size() < 8000 {
			t.Errorf("%s: the recording: %v, %v", transport, info, err)
		}
	}

	var out, errs strings.Builder
	if code := run(t.Context(), []string{"call", "--account", me.Number, "--password", "wrong", "--server", s.udp, "15000"}, &out, &errs); code != exitFailed {
		t.Errorf("with a wrong password: exit code %d", code)
	}
	if !strings.HasPrefix(out.String(), `{"number":"15000","answered":false,`) || strings.Count(out.String(), "\n") != 1 {
		t.Errorf("with a wrong password: the report is %q", out.String())
	}

	var records []struct{ Caller, Callee string }
	s.liaison(t, &records, "record", "list")
	if len(records) != 2 {
		t.Errorf("%d records of two calls", len(records))
	}
	for _, r := range records {
		if r.Caller != me.Number || r.Callee != "15000" {
			t.Errorf("the record says %+v", r)
		}
	}
	if code := s.stop(); code != exitDone {
		t.Errorf("the service ends with %d", code)
	}
}

func TestDemonstrationAccountsCall(t *testing.T) {
	s := configure(t, "127.0.0.1:0")
	s.serve(t, "--demo")
	text, err := os.ReadFile(filepath.Join(s.data, "demo.txt"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(45675001)\D+password (\S+)`).FindStringSubmatch(string(text))
	if m == nil {
		t.Fatalf("demo.txt has %q", text)
	}
	var report struct{ Answered bool }
	s.liaison(t, &report, "call", "--account", m[1], "--password", m[2], "--server", s.udp, "--for", "1s", "15000")
	if !report.Answered {
		t.Error("not answered")
	}
}

func TestServeRefusesATakenPort(t *testing.T) {
	taken, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s := configure(t, taken.LocalAddr().String())
	var out, errs strings.Builder
	if code := run(t.Context(), []string{"serve", "--config", s.file}, &out, &errs); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	if out.String() != "" {
		t.Errorf("stdout has %q", out.String())
	}
	if got := errs.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, taken.LocalAddr().String()) {
		t.Errorf("stderr has %q, want one line that names the address", got)
	}
}
