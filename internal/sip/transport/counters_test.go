package transport

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestEveryCounterIsCollected(t *testing.T) {
	tr, _ := start(t, Config{}, "udp 127.0.0.1:0")
	r := prometheus.NewPedanticRegistry()
	if err := r.Register(tr); err != nil {
		t.Fatal(err)
	}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range families {
		n += len(f.GetMetric())
	}
	if want := int(numCounters) + 2; n != want {
		t.Errorf("%d values, want %d", n, want)
	}
}

func TestAFloodIsOneLineAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		tr := New(Config{Logger: slog.New(slog.NewTextHandler(&out, nil))})
		ctx, cancel := context.WithCancel(t.Context())
		go tr.summarise(ctx)
		synctest.Wait()
		for range 1000 {
			tr.counters.add(dropUnparseable, 1)
		}
		tr.counters.add(receivedUDP, 1000)
		time.Sleep(10*time.Minute + time.Second)
		cancel()
		synctest.Wait()
		if lines := strings.Count(out.String(), "\n"); lines != 1 || !strings.Contains(out.String(), "dropped.unparseable=1000") {
			t.Errorf("logged:\n%s", out.String())
		}
	})
}
