package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"liaison/internal/account"
	"liaison/internal/config"
	"liaison/internal/store"
)

func (c *cli) testCommand() *cobra.Command {
	group := &cobra.Command{Use: "test", Short: "Switch test numbers on and off"}
	group.AddCommand(c.testSwitch("on", "Let a test number answer", true), c.testSwitch("off", "Keep a test number from answering", false))
	return group
}

func (c *cli) testSwitch(name, short string, on bool) *cobra.Command {
	return &cobra.Command{
		Use:   name + " NUMBER",
		Short: short,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.withStore(cmd.Context(), func(s *store.Store, cfg *config.Config) error {
				n := account.Number(args[0])
				// The service makes the account of its own number when it starts; it can be switched before that.
				if args[0] == cfg.Test.Programme.Number {
					if err := s.EnsureTest(cmd.Context(), n); err != nil {
						return err
					}
				}
				if err := s.SetTest(cmd.Context(), n, on); err != nil {
					return err
				}
				if c.json {
					return c.printJSON(struct {
						Number string `json:"number"`
						On     bool   `json:"on"`
					}{args[0], on})
				}
				_, err := fmt.Fprintf(c.out, "test number %s is %s\n", args[0], name)
				return err
			})
		},
	}
}
