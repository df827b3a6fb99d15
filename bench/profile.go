package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// profile measures ours with perf looking on, and leaves for each kind of work
// NAME.perf.data, for perf report and flame graphs, and NAME.txt, the costs by
// function. perf needs no door in the product, and it sees the kernel too.
func profile(ctx context.Context, b *bench, c contestant, rows []row, folder string) error {
	if _, err := exec.LookPath("perf"); err != nil {
		return errors.New("perf is missing: apt-get install linux-perf")
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for _, r := range rows {
		if err := b.profileRow(ctx, c, r, filepath.Join(folder, strings.ToLower(r.name))); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) profileRow(ctx context.Context, c contestant, r row, base string) (err error) {
	st, err := b.prepare(ctx, c, r)
	if err != nil {
		return err
	}
	defer func() {
		if stopped := st.close(); err == nil {
			err = stopped
		}
	}()
	wait, err := record(ctx, st.s, base)
	if err != nil {
		return err
	}
	counts, err := st.l.run(ctx, r.work, 0, b.each)
	if err != nil {
		return st.lost(err)
	}
	if err := wait(); err != nil {
		return err
	}
	b.progress("%s: %d operations under perf, %s.txt", r.name, counts.done, base)
	return nil
}

// record runs perf beside the server until wait is called.
func record(ctx context.Context, s *server, base string) (wait func() error, err error) {
	data := base + ".perf.data"
	// Go keeps frame pointers, so call graphs cost little. cpu-clock works
	// where a virtual machine has no performance counters.
	perf := exec.Command("perf", "record", "-q", "-e", "cpu-clock", "-F", "997", "-g",
		"-p", strconv.Itoa(s.cmd.Process.Pid), "-o", data)
	var said strings.Builder
	perf.Stderr = &said
	perf.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := perf.Start(); err != nil {
		return nil, fmt.Errorf("perf: %w", err)
	}
	return func() error {
		_ = perf.Process.Signal(os.Interrupt)
		err := perf.Wait()
		if info, missing := os.Stat(data); missing != nil || info.Size() == 0 {
			return fmt.Errorf("perf record: %v: %s", err, strings.TrimSpace(said.String()))
		}
		text, err := exec.CommandContext(ctx, "perf", "report", "-i", data, "--stdio", "--no-children",
			"-g", "none", "--percent-limit", "0.3").Output()
		if err != nil {
			return fmt.Errorf("perf report: %w", err)
		}
		return os.WriteFile(base+".txt", text, 0o644)
	}, nil
}
