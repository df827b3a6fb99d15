package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"liaison/internal/store"
)

func (c *cli) callList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the calls that are up",
		Args:  cobra.NoArgs,
		RunE: c.stored(func(ctx context.Context, s *store.Store, _ []string) error {
			open, err := s.OpenCalls(ctx)
			if err != nil {
				return err
			}
			return c.printRecords(open)
		}),
	}
}

func (c *cli) callEnd() *cobra.Command {
	return &cobra.Command{
		Use:   "end ID",
		Short: "Ask the service to end a call",
		Args:  cobra.ExactArgs(1),
		RunE: c.stored(func(ctx context.Context, s *store.Store, args []string) error {
			if err := s.EndCall(ctx, args[0]); err != nil {
				return err
			}
			if c.json {
				return c.printJSON(struct {
					ID           string `json:"id"`
					EndRequested bool   `json:"end_requested"`
				}{args[0], true})
			}
			_, err := fmt.Fprintf(c.out, "the service will end call %s\n", args[0])
			return err
		}),
	}
}
