package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"liaison/internal/agent"
	"liaison/internal/config"
)

func (c *cli) agentCommand() *cobra.Command {
	var (
		e      endpoint
		answer string
	)
	cmd := &cobra.Command{
		Use:   "agent --account N --password P",
		Short: "Register as a codec would, and answer calls",
		Long: `Register as a codec would, and answer calls until SIGTERM or SIGINT.
Once registered, one line on stdout says so.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := e.config(newLogger(c.err, config.Log{Level: slog.LevelInfo}))
			if err != nil {
				return err
			}
			if cfg.Answering, err = agent.ParseAnswering(answer); err != nil {
				return usagef("--answer: %w", err)
			}
			return withAgent(cmd.Context(), cfg, func(ctx context.Context, a *agent.Agent) error {
				if err := a.Register(ctx); err != nil {
					return fmt.Errorf("%s is not registered: %w", e.account, err)
				}
				if err := c.printRegistered(e); err != nil {
					return err
				}
				<-ctx.Done()
				return nil
			})
		},
	}
	e.flags(cmd)
	cmd.Flags().StringVar(&answer, "answer", "programme", "what to do with a call: programme, echo, busy or ring")
	return cmd
}

func (c *cli) printRegistered(e endpoint) error {
	if c.json {
		return c.printJSON(struct {
			Number string `json:"number"`
			Server string `json:"server"`
		}{e.account, e.server})
	}
	_, err := fmt.Fprintf(c.out, "registered %s at %s\n", e.account, e.server)
	return err
}
