// Command bench compares what our server and Debian's Kamailio cost for the
// same work: CPU time per operation, and memory. The two are measured in turn,
// each on one core with the load generator on another, and what counts is
// their ratio; see docs/performance.md.
//
//	go run ./bench                      three runs, all work, both servers
//	go run ./bench -only kamailio -runs 1 -each 2s -memory 0
//	go run ./bench -profile out         where our CPU time goes
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

type flags struct {
	runs     int
	each     time.Duration
	accounts int
	window   int
	memory   int
	calls    int
	only     string
	work     string
	nated    bool
	count    bool
	ping     bool
	binary   string
	extra    string
	profile  string
	markdown bool
	core     int
	ownCore  int
}

func main() {
	// The parent-death signal of the servers is tied to the thread that
	// started them: it must not end before the program does.
	runtime.LockOSThread()
	var f flags
	flag.IntVar(&f.runs, "runs", 3, "measure everything this many `times`")
	flag.DurationVar(&f.each, "each", 5*time.Second, "`time` under load for one figure")
	flag.IntVar(&f.accounts, "accounts", 10_000, "`number` of accounts, all registered")
	flag.IntVar(&f.window, "window", 64, "`operations` under way at a time")
	flag.IntVar(&f.memory, "memory", 100_000, "`bindings` for the memory rows; 0: leave them out")
	flag.IntVar(&f.calls, "calls", 20_000, "`calls` for the memory per finished call")
	flag.StringVar(&f.only, "only", "", "measure only this `server`: liaison or kamailio")
	flag.StringVar(&f.work, "work", "", "measure only this `work`: registration, re-registration, call, OPTIONS or memory")
	flag.BoolVar(&f.nated, "nat", true, "agents say a private address, as behind a NAT")
	flag.BoolVar(&f.count, "count", false, "Kamailio checks nonce counts, as ours always does")
	flag.BoolVar(&f.ping, "ping", false, "Kamailio keeps NAT bindings open, as ours always does")
	flag.StringVar(&f.binary, "liaison", "", "our `program`; default: built from the source")
	flag.StringVar(&f.extra, "config", "", "`file` with further lines for our configuration")
	flag.StringVar(&f.profile, "profile", "", "write CPU profiles of ours, made with perf, to this `folder`; nothing is compared")
	flag.BoolVar(&f.markdown, "markdown", false, "print Markdown")
	flag.IntVar(&f.core, "core", 0, "the server's `core`")
	flag.IntVar(&f.ownCore, "generator-core", 1, "the generator's `core`")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, f); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, f flags) error {
	if flag.NArg() > 0 {
		return fmt.Errorf("%q is no flag; see -help", flag.Arg(0))
	}
	if runtime.NumCPU() < 2 {
		return errors.New("one core for the server and one for the generator are needed")
	}
	dir, err := os.MkdirTemp("", "liaison-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	b := &bench{accounts: f.accounts, window: f.window, nated: f.nated, each: f.each,
		progress: func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }}
	servers, err := contestants(ctx, f, dir)
	if err != nil {
		return err
	}
	// Only now: what was built above may take all cores.
	if err := pin(f.ownCore); err != nil {
		return err
	}
	if f.profile != "" {
		return profile(ctx, b, servers[0], f.chosen(), f.profile)
	}
	t, err := compare(ctx, b, servers, f)
	if err != nil {
		return err
	}
	return t.print(os.Stdout, f.markdown)
}

// contestants are ours and Kamailio, in this order; the one that is not to be
// measured is nil.
func contestants(ctx context.Context, f flags, dir string) (servers [2]contestant, err error) {
	if !slices.Contains([]string{"", "liaison", "kamailio"}, f.only) {
		return servers, fmt.Errorf("-only %s: liaison or kamailio", f.only)
	}
	if f.profile != "" && f.only == "kamailio" {
		return servers, errors.New("-profile is for ours, not for kamailio")
	}
	if _, err := exec.LookPath("taskset"); err != nil {
		return servers, errors.New("taskset is missing: apt-get install util-linux")
	}
	if f.only != "kamailio" {
		l := &liaison{dir: dir, core: f.core, binary: f.binary}
		if f.extra != "" {
			text, err := os.ReadFile(f.extra)
			if err != nil {
				return servers, err
			}
			l.extra = string(text)
		}
		if err := l.build(ctx); err != nil {
			return servers, err
		}
		servers[0] = l
	}
	if f.only != "liaison" && f.profile == "" {
		if err := install(ctx, "kamailio", "kamailio"); err != nil {
			return servers, err
		}
		k := &kamailio{dir: dir, core: f.core}
		for name, on := range map[string]bool{"COUNT": f.count, "NATPING": f.ping} {
			if on {
				k.defines = append(k.defines, name)
			}
		}
		servers[1] = k
	}
	return servers, nil
}

// chosen are the rows that -work leaves.
func (f flags) chosen() []row {
	if f.work == "" {
		return rows()
	}
	return slices.DeleteFunc(rows(), func(r row) bool { return r.name != f.work })
}

// compare measures the servers in turn; who begins changes with every run.
func compare(ctx context.Context, b *bench, servers [2]contestant, f flags) (*table, error) {
	t := &table{names: [2]string{"liaison", "kamailio"}, machine: machine()}
	for _, c := range servers {
		if c != nil {
			t.machine = append(t.machine, c.name()+": "+c.version())
		}
	}
	t.machine = append(t.machine, fmt.Sprintf("%d accounts, %d operations at a time, %d runs of %v each, agents behind NAT: %t; command: go run ./bench %s",
		f.accounts, f.window, f.runs, f.each, f.nated, strings.Join(os.Args[1:], " ")))
	chosen := f.chosen()
	if len(chosen) == 0 && f.work != "memory" {
		return nil, fmt.Errorf("-work %s: there is no such work", f.work)
	}
	for _, r := range chosen {
		t.lines = append(t.lines, tableLine{work: r.name, unit: "us CPU", bar: r.bar})
	}
	for n := range f.runs {
		for i, r := range chosen {
			figures, err := b.measure(ctx, servers, n%2, r)
			if err != nil {
				return nil, err
			}
			for which, c := range servers {
				if c != nil {
					t.lines[i].values[which] = append(t.lines[i].values[which], figures[which].micros())
				}
			}
		}
	}
	if f.memory == 0 || (f.work != "" && f.work != "memory") {
		return t, nil
	}
	first := tableLine{work: "new registration", unit: "us CPU", bar: 1}
	bound := tableLine{work: fmt.Sprintf("%d bindings", f.memory), unit: "MB PSS", bar: 0.55}
	alone := tableLine{work: "less the accounts", unit: "MB PSS"}
	held := tableLine{work: "finished call", unit: "kB PSS", bar: 0.2}
	for which, c := range servers {
		if c == nil {
			continue
		}
		m, err := b.measureMemory(ctx, c, f.memory, f.calls)
		if err != nil {
			return nil, err
		}
		first.values[which] = []float64{m.first}
		bound.values[which] = []float64{float64(m.bound) / 1e6}
		alone.values[which] = []float64{float64(m.bound-m.empty) / 1e6}
		held.values[which] = []float64{m.perCall / 1e3}
	}
	t.lines = append(t.lines, first, bound, alone, held)
	return t, nil
}
