//go:build e2e

package lab

import (
	"bytes"
	"errors"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Process is a program that a test started. It never outlives the test.
type Process struct {
	Name string
	Out  *Output // what it wrote on stdout
	Err  *Output // what it wrote on stderr

	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// Start runs cmd until it ends, Stop or Kill is called, or the test is over.
// The last lines of its output are shown if the test failed.
func Start(t testing.TB, name string, cmd *exec.Cmd) *Process {
	t.Helper()
	p := &Process{Name: name, Out: newOutput(), Err: newOutput(), cmd: cmd, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.Out, p.Err
	// A child of the child may keep the pipe open; it must not keep the test.
	cmd.WaitDelay = 2 * time.Second
	// If the test binary is killed, so is what it started. A group of its own, because what the
	// program starts itself (Kamailio's workers) would outlive a kill -9 of the first process.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		p.err = cmd.Wait()
		// At once, before the number of the group can be somebody else's.
		_ = syscall.Kill(-p.Pid(), syscall.SIGKILL)
		close(p.done)
	}()
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("%s stdout:\n%s\n%s stderr:\n%s", name, p.Out.tail(60), name, p.Err.tail(60))
		}
	})
	return p
}

// Pid is the program's own, also when it runs in a namespace.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Signal sends sig; a program that has ended already gets nothing.
func (p *Process) Signal(sig syscall.Signal) { _ = p.cmd.Process.Signal(sig) }

// Kill ends the program, and what it has started, as a power cut would, and waits until it is gone.
func (p *Process) Kill() {
	if p.Running() {
		_ = syscall.Kill(-p.Pid(), syscall.SIGKILL)
	}
	<-p.done
}

// Stop asks the program to end and fails the test if it has not within the time given.
func (p *Process) Stop(t testing.TB, within time.Duration) {
	t.Helper()
	p.Signal(syscall.SIGTERM)
	p.Ended(t, within)
}

// Ended waits until the program has ended and gives its exit status, -1 if a signal ended it.
func (p *Process) Ended(t testing.TB, within time.Duration) int {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(within):
		t.Fatalf("%s has not ended within %v", p.Name, within)
	}
	var exit *exec.ExitError
	switch {
	case p.err == nil:
		return 0
	case errors.As(p.err, &exit):
		return exit.ExitCode()
	case errors.Is(p.err, exec.ErrWaitDelay):
		return p.cmd.ProcessState.ExitCode()
	}
	t.Fatalf("%s: %v", p.Name, p.err)
	return -1
}

// Running says whether the program has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Line waits for a line on stdout or stderr that matches pattern and gives its submatches.
// It fails at once when the program has ended without having written one.
func (p *Process) Line(t testing.TB, within time.Duration, pattern string) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	deadline := time.After(within)
	for {
		outChanged, errChanged := p.Out.changed(), p.Err.changed()
		ended := !p.Running()
		for _, o := range []*Output{p.Out, p.Err} {
			for line := range strings.Lines(o.String()) {
				if m := re.FindStringSubmatch(strings.TrimRight(line, "\r\n")); m != nil {
					return m
				}
			}
		}
		if ended {
			t.Fatalf("%s ended without a line that matches %q", p.Name, pattern)
		}
		select {
		case <-outChanged:
		case <-errChanged:
		case <-p.done:
		case <-deadline:
			t.Fatalf("%s: no line within %v that matches %q", p.Name, within, pattern)
		}
	}
}

// Output is what a program has written so far on one of its streams.
type Output struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	news chan struct{}
}

func newOutput() *Output { return &Output{news: make(chan struct{})} }

func (o *Output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.news)
	o.news = make(chan struct{})
	return o.buf.Write(b)
}

func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

func (o *Output) changed() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.news
}

func (o *Output) tail(lines int) string {
	all := strings.Split(strings.TrimRight(o.String(), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
