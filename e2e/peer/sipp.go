//go:build e2e

package peer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"liaison/e2e/lab"
)

// SIPpConfig is one run of a scenario.
type SIPpConfig struct {
	Scenario         string // the XML, as text
	Number, Password string // what [number] and [authentication] say
	Server           string // host:port; not needed by a scenario that only answers
	Port             int    // the local port; an agent that was registered from it is called there
	TCP              bool
	Calls            int               // how many; 0: until the scenario itself ends the run
	Rate             int               // calls begun in a second; 0: one after the other
	Keys             map[string]string // further [key] words of the scenario
	CSV              string            // rows for [field0] and so on, with SIPp's first line
	Within           time.Duration     // the run fails after that; 0: 30 s
}

// SIPp is a running scenario.
type SIPp struct {
	process *lab.Process
	dir     string
	within  time.Duration
}

// StartSIPp runs a scenario on a host.
func StartSIPp(t testing.TB, h *lab.Host, name string, c SIPpConfig) *SIPp {
	t.Helper()
	lab.Need(t, "sipp")
	if c.Within == 0 {
		c.Within = 30 * time.Second
	}
	if c.Port == 0 {
		c.Port = h.FreePort(t)
	}
	dir := lab.Dir(t)
	args := []string{
		"-sf", lab.Write(t, dir, "scenario.xml", c.Scenario),
		"-i", h.Addr.String(), "-p", strconv.Itoa(c.Port), "-mi", h.Addr.String(),
		"-nostdin", "-default_behaviors", "none,abortunexp",
		"-trace_err", "-error_file", filepath.Join(dir, "errors"),
		"-trace_msg", "-message_file", filepath.Join(dir, "messages"),
		"-timeout", fmt.Sprint(int(c.Within.Seconds()), "s"), "-timeout_error",
		// SIPp takes the space off the head of a line, so a folded line begins with [fold].
		"-key", "fold", "  ",
		"-key", "number", c.Number, "-au", c.Number, "-ap", c.Password,
	}
	for k, v := range c.Keys {
		args = append(args, "-key", k, v)
	}
	if c.TCP {
		args = append(args, "-t", "t1")
	} else {
		args = append(args, "-t", "u1")
	}
	if c.Calls > 0 {
		args = append(args, "-m", strconv.Itoa(c.Calls))
	}
	if c.Rate > 0 {
		args = append(args, "-r", strconv.Itoa(c.Rate))
	} else {
		args = append(args, "-l", "1")
	}
	if c.CSV != "" {
		args = append(args, "-inf", lab.Write(t, dir, "calls.csv", c.CSV))
	}
	if c.Server != "" {
		args = append(args, c.Server)
	}
	// SIPp writes more files into its working folder.
	cmd := h.Command("sipp", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TERM=dumb")
	s := &SIPp{dir: dir, within: c.Within}
	s.process = lab.Start(t, "sipp "+name, cmd)
	t.Cleanup(func() {
		if t.Failed() {
			for _, file := range []string{"errors", "messages"} {
				if b, err := os.ReadFile(filepath.Join(dir, file)); err == nil {
					t.Logf("sipp %s, %s:\n%s", name, file, b)
				}
			}
		}
	})
	return s
}

// Passed waits until the scenario has ended and fails the test unless every call of it succeeded.
func (s *SIPp) Passed(t testing.TB) {
	t.Helper()
	if code := s.Result(t); code != 0 {
		t.Fatalf("%s ended with status %d", s.process.Name, code)
	}
}

// Result waits until the scenario has ended and gives its status: 0 if every call succeeded.
func (s *SIPp) Result(t testing.TB) int {
	t.Helper()
	return s.process.Ended(t, s.within+5*time.Second)
}

// Kill ends the run at once.
func (s *SIPp) Kill() { s.process.Kill() }

// Messages is every SIP message of the run so far, as SIPp saw them.
func (s *SIPp) Messages(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, "messages"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(b)
}
