package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// server is one of the two that are compared, while it runs.
type server struct {
	name string
	addr netip.AddrPort
	cmd  *exec.Cmd
	said string        // the file of its stderr
	gone chan struct{} // closed when the process has ended
}

// start runs a command on one core. The server ends with the benchmark, even
// if that is killed.
func start(name, dir string, core int, stdout *os.File, command string, args ...string) (*server, error) {
	// A file: reading a pipe would be the generator's work.
	stderr, err := os.CreateTemp(dir, name+"-stderr")
	if err != nil {
		return nil, err
	}
	defer stderr.Close()
	s := &server{name: name, said: stderr.Name(), gone: make(chan struct{})}
	s.cmd = exec.Command("taskset", append([]string{"--cpu-list", strconv.Itoa(core), command}, args...)...)
	s.cmd.Stderr = stderr
	if stdout != nil {
		s.cmd.Stdout = stdout
	}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		_ = s.cmd.Wait() // how it ended is seen by whoever waited for an answer
		close(s.gone)
	}()
	return s, nil
}

// stop ends the server and waits for it.
func (s *server) stop() error {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.gone:
		return nil
	case <-time.After(15 * time.Second):
	}
	// The group is the server's own: Setpgid.
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
	<-s.gone
	return fmt.Errorf("%s did not end within 15 s of SIGTERM", s.name)
}

// died gives the error for a server that has ended by itself.
func (s *server) died() error { return fmt.Errorf("%s ended; it said:\n%s", s.name, s.words()) }

// words are the last that the server said on stderr.
func (s *server) words() string {
	b, err := os.ReadFile(s.said)
	if err != nil {
		return err.Error()
	}
	return string(bytes.TrimSpace(b[max(0, len(b)-4096):]))
}

// processes are the server's process and all that descend from it.
func (s *server) processes() ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	children := map[int][]int{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		fields, err := stat(pid)
		if err != nil {
			continue // it has just ended
		}
		parent, _ := strconv.Atoi(fields[1])
		children[parent] = append(children[parent], pid)
	}
	all := []int{s.cmd.Process.Pid}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all, nil
}

// stat gives the fields of /proc/PID/stat after the command's name: state,
// parent and so on, so that field n of proc(5) is n-3 here.
func stat(pid int) ([]string, error) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return nil, err
	}
	end := bytes.LastIndexByte(b, ')') // a name may hold anything but this is its end
	fields := strings.Fields(string(b[end+1:]))
	if end < 0 || len(fields) < 20 {
		return nil, fmt.Errorf("/proc/%d/stat is not as proc(5) says", pid)
	}
	return fields, nil
}

// cpu is the processor time, user and system, that the server has used in all
// its processes and threads. The kernel counts it by the nanosecond and shows
// it by the 1/100 s (USER_HZ, the same on every Linux).
func (s *server) cpu() (time.Duration, error) {
	pids, err := s.processes()
	if err != nil {
		return 0, err
	}
	ticks := 0
	for _, pid := range pids {
		fields, err := stat(pid)
		if err != nil {
			return 0, err
		}
		for _, field := range fields[14-3 : 16-3] { // utime, stime
			n, err := strconv.Atoi(field)
			if err != nil {
				return 0, fmt.Errorf("/proc/%d/stat: %w", pid, err)
			}
			ticks += n
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

// memory is the proportional set size of all the server's processes in bytes:
// what they share is counted once.
func (s *server) memory() (int64, error) {
	pids, err := s.processes()
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, pid := range pids {
		b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "smaps_rollup"))
		if err != nil {
			return 0, err
		}
		_, after, ok := strings.Cut(string(b), "\nPss:")
		if !ok {
			return 0, fmt.Errorf("/proc/%d/smaps_rollup has no Pss", pid)
		}
		kB, err := strconv.ParseInt(strings.Fields(after)[0], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/%d/smaps_rollup: %w", pid, err)
		}
		sum += kB << 10
	}
	return sum, nil
}

// pin keeps the generator, all its threads, on one core.
func pin(core int) error {
	var set unix.CPUSet
	set.Set(core)
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range threads {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(tid, &set); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("pin to core %d: %w", core, err)
		}
	}
	return nil
}

// ownCPU is what the generator has used itself.
func ownCPU() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// install fetches a Debian package when its program is missing.
func install(ctx context.Context, program, pkg string) error {
	if _, err := exec.LookPath(program); err == nil || !errors.Is(err, exec.ErrNotFound) && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("%s is missing: apt-get install %s", program, pkg)
	}
	for _, args := range [][]string{{"update", "-q"}, {"install", "-y", "-q", "--no-install-recommends", pkg}} {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	return nil
}
