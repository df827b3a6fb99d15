//go:build e2e

// Package lab gives a test a place of its own: network namespaces joined by virtual cables,
// programs that run in them and are gone when the test is, names that resolve there.
//
// Everything a test starts is ended through its process, never by name, so tests run in parallel
// and beside whatever else the machine does.
package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Need ends the test unless the programs are installed. A laptop may lack one, and then the test
// is skipped and says so; CI may not, because a test that silently stopped running proves nothing.
func Need(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			Lacking(t, fmt.Sprintf("%s is not installed", p))
		}
	}
}

// Lacking skips on a laptop and fails in CI.
func Lacking(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s, and CI must run everything", why)
	}
	t.Skipf("SKIPPED: %s", why)
}

// Dir is a folder for one test. Its path is short, because foreign programs have short buffers
// for file names (baresip's recorder: 128 bytes). It stays when the test failed.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "e2e-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("logs and recordings are kept in %s", dir)
			return
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove %s: %v", dir, err)
		}
	})
	return dir
}

// Write puts a file into dir and gives its path.
func Write(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Eventually waits until ok says true and fails the test if it has not within the time given.
func Eventually(t testing.TB, within time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}

// run executes a command of the lab itself; its failure is the machine's and not the service's.
func run(t testing.TB, stdin string, argv ...string) string {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(argv, " "), err, stdin, out)
	}
	return string(out)
}
