package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"liaison/internal/account"
	"liaison/internal/config"
)

// web is the HTTP server: health and metrics.
type web struct {
	listeners []net.Listener
	metrics   []netip.Prefix
	log       *slog.Logger
}

func listenWeb(c config.Web, log *slog.Logger) (*web, error) {
	w := &web{metrics: c.Metrics, log: log}
	for _, addr := range c.Listen {
		if addr.Addr() == netip.IPv6Unspecified() && !hasIPv6() {
			continue
		}
		network := "tcp4"
		if addr.Addr().Is6() {
			network = "tcp6"
		}
		l, err := net.Listen(network, addr.String())
		if err != nil {
			w.close()
			if errors.Is(err, syscall.EADDRINUSE) {
				return nil, fmt.Errorf("web address %s is taken by another program: stop it or change web.listen", addr)
			}
			return nil, fmt.Errorf("web address %s cannot be bound: %w: change web.listen", addr, err)
		}
		w.listeners = append(w.listeners, l)
	}
	return w, nil
}

func (w *web) close() error {
	for _, l := range w.listeners {
		l.Close()
	}
	return nil
}

// addr is the first address that is served.
func (w *web) addr() string {
	if len(w.listeners) == 0 {
		return ""
	}
	return w.listeners[0].Addr().String()
}

func (w *web) run(ctx context.Context, a *app) error {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), newMetrics(a), a.outer, a.registrar, a.stun)
	if a.relay != nil {
		registry.MustRegister(a.relay)
	}
	metrics := promhttp.HandlerFor(registry, promhttp.HandlerOpts{})

	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(rw http.ResponseWriter, r *http.Request) { healthz(rw, r, a) })
	mux.HandleFunc("GET /metrics", func(rw http.ResponseWriter, r *http.Request) {
		from, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil || !slices.ContainsFunc(w.metrics, func(p netip.Prefix) bool { return p.Contains(from.Addr().Unmap()) }) {
			http.Error(rw, "metrics are for the networks in web.metrics of the configuration", http.StatusForbidden)
			return
		}
		metrics.ServeHTTP(rw, r)
	})
	server := &http.Server{
		Handler: mux, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(w.log.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, len(w.listeners))
	for _, l := range w.listeners {
		go func() { failed <- server.Serve(l) }()
	}
	var err error
	ended := 0
	select {
	case <-ctx.Done():
	case err = <-failed:
		ended++
	}
	server.Close()
	for ; ended < len(w.listeners); ended++ {
		<-failed
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// health is what /healthz says: each part with its state.
type health struct {
	Status  string          `json:"status"` // "ok", "draining", "failing"
	Version string          `json:"version"`
	Parts   map[string]part `json:"parts"`
}

type part struct {
	Status string `json:"status"` // "ok" or what is wrong
	Detail any    `json:"detail,omitempty"`
}

func healthz(rw http.ResponseWriter, r *http.Request, a *app) {
	h := health{Status: "ok", Version: a.opt.Version, Parts: make(map[string]part)}
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	database := part{Status: "ok"}
	if err := a.store.Healthy(ctx); err != nil {
		database.Status, h.Status = err.Error(), "failing"
	}
	h.Parts["database"] = database
	var sips []string
	for _, l := range a.outer.Listeners() {
		sips = append(sips, l.Proto.Param()+":"+l.Addr.String())
	}
	h.Parts["sip"] = part{"ok", map[string]any{"listeners": strings.Join(sips, ",")}}
	h.Parts["registrar"] = part{"ok", map[string]any{"bindings": a.registrar.Bindings(), "accounts": a.directory.Len()}}
	h.Parts["calls"] = part{"ok", map[string]any{"up": a.calls.Up(), "setting_up": a.proxy.Pending()}}
	h.Parts["test_codec"] = part{"ok", map[string]any{"callers": a.calls.With(account.Number(a.cfg.Test.Programme.Number))}}
	var stuns []string
	for _, l := range a.outer.STUNAddrs() {
		stuns = append(stuns, "udp:"+l.String())
	}
	h.Parts["stun"] = part{"ok", map[string]any{"listeners": strings.Join(stuns, ",")}}
	if a.relay != nil {
		relay := part{Status: "ok"}
		if u, err := a.relay.Usage(""); err != nil {
			relay.Status = err.Error()
		} else {
			relay.Detail = map[string]any{"ports": u.Total, "ports_used": u.Used}
		}
		h.Parts["relay"] = relay
	}
	if a.proxy.Drained() {
		h.Status = "draining"
	}
	rw.Header().Set("Content-Type", "application/json")
	rw.Header().Set("Cache-Control", "no-store")
	if h.Status != "ok" {
		rw.WriteHeader(http.StatusServiceUnavailable)
	}
	json.NewEncoder(rw).Encode(h)
}
