//go:build !race

package registrar

import "testing"

func TestRefreshAllocatesNothing(t *testing.T) {
	r := loose(t)
	a := population(t, 200)
	buf := make([]byte, 1000*1024)
	for range 10 {
		a.register(t, r, buf)
	}
	// The context of a commit and the pools' refills are shared by what gathers.
	if n := testing.AllocsPerRun(100, func() { a.register(t, r, buf) }) / float64(len(a.packets)); n > 0.5 {
		t.Errorf("%.2f allocations for a refresh", n)
	}
}
