package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"liaison/internal/config"
)

func (c *cli) configCommand() *cobra.Command {
	group := &cobra.Command{Use: "config", Short: "Show and check the configuration"}
	group.AddCommand(
		&cobra.Command{
			Use:   "example",
			Short: "Print the commented reference of the configuration, which is the defaults",
			Args:  cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error {
				_, err := c.out.Write(config.Example())
				return err
			},
		},
		&cobra.Command{
			Use:   "check FILE",
			Short: "Say whether a configuration file is right",
			Args:  cobra.ExactArgs(1),
			RunE: func(_ *cobra.Command, args []string) error {
				return c.checkConfig(args[0])
			},
		},
	)
	return group
}

func (c *cli) checkConfig(file string) error {
	_, err := config.Load(file, "")
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(struct {
			File string `json:"file"`
			OK   bool   `json:"ok"`
		}{file, true})
	}
	_, err = fmt.Fprintf(c.out, "%s is right\n", file)
	return err
}
