package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"liaison/internal/store"
)

func (c *cli) backupCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "backup FILE",
		Short: "Write everything that is kept into one file; the service may run",
		Args:  cobra.ExactArgs(1),
		RunE: c.stored(func(ctx context.Context, s *store.Store, args []string) error {
			if err := s.Backup(ctx, args[0]); err != nil {
				return err
			}
			if c.json {
				return c.printJSON(struct {
					File string `json:"file"`
				}{args[0]})
			}
			_, err := fmt.Fprintf(c.out, "%s written; it holds the passwords' key, so keep it as safe as the passwords\n", args[0])
			return err
		}),
	}
}

func (c *cli) restoreCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "restore FILE",
		Short: "Put a backup in the place of what is kept; the service must not run",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := c.load()
			if err != nil {
				return err
			}
			aside, err := store.Restore(cmd.Context(), storeConfig(cfg, c), args[0])
			if err != nil {
				return err
			}
			if c.json {
				result := struct {
					File  string  `json:"file"`
					Data  string  `json:"data"`
					Aside *string `json:"aside"` // where what was there before is now; null: nothing was
				}{File: args[0], Data: cfg.Data}
				if aside != "" {
					result.Aside = &aside
				}
				return c.printJSON(result)
			}
			if aside != "" {
				_, err = fmt.Fprintf(c.out, "%s restored into %s; what was there before is in %s\n", args[0], cfg.Data, aside)
			} else {
				_, err = fmt.Fprintf(c.out, "%s restored into %s\n", args[0], cfg.Data)
			}
			return err
		},
	}
}
