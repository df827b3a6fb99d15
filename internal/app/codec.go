package app

import (
	"context"
	"fmt"
	"log/slog"

	"liaison/internal/agent"
	"liaison/internal/config"
	"liaison/internal/sip/transport"
)

// newCodec makes the test codec: a user agent on a stack of its own, linked to the service's inside the process, so that
// it is called like any other agent.
func newCodec(ctx context.Context, c config.Test, outer *transport.Transport, log *slog.Logger) (*agent.Agent, error) {
	recordings, err := agent.OpenRecordings()
	if err != nil {
		return nil, fmt.Errorf("the test programme cannot be read: %w", err)
	}
	stack := transport.New(transport.Config{Logger: log})
	transport.Join(outer, stack)
	a, err := agent.New(ctx, agent.Config{
		Logger: log, Product: "Liaison test codec", Number: c.Programme.Number, Transport: stack,
		Recordings: recordings, Answering: agent.Programme, Callers: c.Programme.Callers, Longest: c.Programme.Limit,
	})
	if err != nil {
		return nil, fmt.Errorf("test codec: %w", err)
	}
	return a, nil
}
