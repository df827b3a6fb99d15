//go:build e2e

// Package e2e tests the program as its users meet it: the real binary, real agents of other
// makers, real networks.
//
//	sudo go test -tags e2e ./e2e/...
//
// E2E_SERVICE=kamailio runs the tests that need nothing of ours against a plain Kamailio: what
// fails there too is a fault of the test. E2E_LIAISON names a binary to test instead of building one.
package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"liaison/e2e/lab"
	"liaison/e2e/peer"
)

// built is where the binary is, made once for all tests.
var built = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("E2E_LIAISON"); path != "" {
		return filepath.Abs(path)
	}
	dir, err := os.MkdirTemp("", "e2e-binary-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "liaison")
	cmd := exec.Command("go", "build", "-o", path, "liaison/cmd/liaison")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build liaison: %w\n%s", err, out)
	}
	return path, nil
})

func binary(t testing.TB) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Liaison is our service on a host, with its data folder and its configuration.
type Liaison struct {
	Process *lab.Process
	SIP     string // what the ready line says
	Web     string

	host         *lab.Host
	data, config string
}

// NewLiaison makes the data folder and the configuration; nothing runs yet.
func NewLiaison(t testing.TB, h *lab.Host, config string) *Liaison {
	t.Helper()
	binary(t)
	dir := lab.Dir(t)
	return &Liaison{host: h, data: filepath.Join(dir, "data"), config: lab.Write(t, dir, "liaison.yaml", config)}
}

// Start serves and waits for the ready line.
func (l *Liaison) Start(t testing.TB) {
	t.Helper()
	l.Process = lab.Start(t, "liaison serve", l.host.Command(binary(t), "serve", "--config", l.config, "--data", l.data))
	l.ready(t)
}

func (l *Liaison) ready(t testing.TB) {
	t.Helper()
	m := l.Process.Line(t, peer.Soon, `^ready sip=(\S+) web=(\S+)$`)
	l.SIP, l.Web = m[1], m[2]
}

// Run executes a subcommand on this machine and gives what it printed.
func (l *Liaison) Run(t testing.TB, args ...string) string {
	t.Helper()
	out, stderr, code := l.Try(t, args...)
	if code != 0 {
		t.Fatalf("liaison %s: exit %d\n%s%s", strings.Join(args, " "), code, out, stderr)
	}
	return out
}

// Try executes a subcommand that may fail.
func (l *Liaison) Try(t testing.TB, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return runHere(t, exec.Command(binary(t), append([]string{"--config", l.config, "--data", l.data}, args...)...))
}

// runHere runs a short command; it may take a minute at most.
func runHere(t testing.TB, cmd *exec.Cmd) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	err := cmd.Wait()
	if !late.Stop() {
		t.Fatalf("%s takes more than a minute\n%s", strings.Join(cmd.Args, " "), errs.String())
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// row is one object of a --json list.
type row map[string]any

func (r row) String() string { b, _ := json.Marshal(map[string]any(r)); return string(b) }

// text is a field as text; a missing field fails the test, null is "".
func (r row) text(t testing.TB, field string) string {
	t.Helper()
	v, ok := r[field]
	if !ok {
		t.Fatalf("no field %q in %v", field, r)
	}
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

// list is a field that holds texts.
func (r row) list(t testing.TB, field string) []string {
	t.Helper()
	all, ok := r[field].([]any)
	if !ok {
		t.Fatalf("field %q is not a list in %v", field, r)
	}
	var out []string
	for _, v := range all {
		out = append(out, fmt.Sprint(v))
	}
	return out
}

// List gives the rows of `liaison NOUN list --json`.
func (l *Liaison) List(t testing.TB, noun string) []row {
	t.Helper()
	var rows []row
	out := l.Run(t, noun, "list", "--json")
	if err := json.Unmarshal([]byte(out), &rows); err != nil {
		t.Fatalf("%s list --json: %v\n%s", noun, err, out)
	}
	return rows
}

// Record waits until exactly one record matches and is complete.
func (l *Liaison) Record(t testing.TB, caller, callee string) row {
	t.Helper()
	var found []row
	lab.Eventually(t, peer.Soon, fmt.Sprintf("a finished record of %s calling %s", caller, callee), func() bool {
		found = nil
		for _, r := range l.List(t, "record") {
			if r.text(t, "caller") == caller && r.text(t, "callee") == callee && r.text(t, "ended") != "" {
				found = append(found, r)
			}
		}
		return len(found) > 0
	})
	if len(found) != 1 {
		t.Fatalf("%d records of %s calling %s, want 1: %v", len(found), caller, callee, found)
	}
	return found[0]
}
