package main

import (
	"io"
	"log/slog"

	"liaison/internal/config"
)

// newLogger logs to w as the configuration says. Both forms escape what comes from outside, so that an agent's name
// cannot begin a line of its own.
func newLogger(w io.Writer, l config.Log) *slog.Logger {
	options := &slog.HandlerOptions{
		Level: l.Level,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.LevelKey && a.Value.Any() == config.LevelTrace {
				a.Value = slog.StringValue("TRACE")
			}
			return a
		},
	}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
