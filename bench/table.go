package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// table is what the benchmark prints.
type table struct {
	names   [2]string // ours first
	lines   []tableLine
	machine []string
}

// tableLine is one kind of work: values by server and run, in unit.
type tableLine struct {
	work   string
	unit   string
	bar    float64 // 0: none is set
	values [2][]float64
}

// ratios are ours by theirs, run by run.
func (l *tableLine) ratios() []float64 {
	var r []float64
	for i := range min(len(l.values[0]), len(l.values[1])) {
		r = append(r, l.values[0][i]/l.values[1][i])
	}
	return r
}

func median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	if len(s)%2 == 1 {
		return s[len(s)/2]
	}
	return (s[len(s)/2-1] + s[len(s)/2]) / 2
}

// cells are the line's words: medians, then the ratios' median and range.
func (l *tableLine) cells() []string {
	value := func(v []float64) string {
		if len(v) == 0 {
			return "-"
		}
		return fmt.Sprintf("%.1f", median(v))
	}
	c := []string{l.work, l.unit, value(l.values[0]), value(l.values[1])}
	bar, verdict := "", ""
	if l.bar > 0 {
		bar = fmt.Sprintf("%.2f", l.bar)
	}
	r := l.ratios()
	if len(r) == 0 {
		return append(c, "-", "-", "-", bar, "")
	}
	switch {
	case l.bar == 0:
	case median(r) > l.bar:
		verdict = "missed"
	default:
		verdict = "met"
	}
	return append(c, fmt.Sprintf("%.2f", median(r)), fmt.Sprintf("%.2f", slices.Min(r)), fmt.Sprintf("%.2f", slices.Max(r)), bar, verdict)
}

func (t *table) head() []string {
	return []string{"work", "unit", t.names[0], t.names[1], "ratio", "min", "max", "at most", ""}
}

// print writes the table in columns, or as Markdown for docs/performance.md.
func (t *table) print(w io.Writer, markdown bool) error {
	all := [][]string{t.head()}
	for i := range t.lines {
		all = append(all, t.lines[i].cells())
	}
	var b strings.Builder
	if markdown {
		for _, m := range t.machine {
			fmt.Fprintf(&b, "- %s\n", m)
		}
		b.WriteByte('\n')
		for i, line := range all {
			fmt.Fprintf(&b, "| %s |\n", strings.Join(line, " | "))
			if i == 0 {
				b.WriteString("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |\n")
			}
		}
	} else {
		for _, m := range t.machine {
			fmt.Fprintln(&b, m)
		}
		b.WriteByte('\n')
		for _, line := range all {
			fmt.Fprintf(&b, "%-18s %-8s %10s %10s %7s %7s %7s %8s  %s\n", line[0], line[1], line[2], line[3], line[4], line[5], line[6], line[7], line[8])
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// machine describes what it was measured on.
func machine() []string {
	model := "unknown processor"
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(info)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	kernel := "unknown kernel"
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		kernel = unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
	}
	return []string{
		fmt.Sprintf("machine: %d cores, %s, %s, %s", runtime.NumCPU(), model, kernel, runtime.GOARCH),
		"generator: " + runtime.Version(),
	}
}
