package main

import (
	"github.com/spf13/cobra"

	"liaison/internal/app"
)

func (c *cli) serveCommand() *cobra.Command {
	var demo bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the service",
		Long: `Run the service until SIGTERM or SIGINT.

When everything is bound and loaded, one line on stdout says where:
  ready sip=udp:HOST:PORT,tcp:HOST:PORT web=http://HOST:PORT`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := c.load()
			if err != nil {
				return err
			}
			return app.Run(cmd.Context(), cfg, app.Options{
				Demo: demo, Version: version, Stdout: c.out, Stderr: c.err, Log: newLogger(c.err, cfg.Log),
			})
		},
	}
	cmd.Flags().BoolVar(&demo, "demo", false, "make a subscriber with two accounts, and say how to point softphones at them")
	return cmd
}
