package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"liaison/internal/agent"
	"liaison/internal/config"
	"liaison/internal/sip/transport"
)

// endpoint are the options of an agent, which needs no configuration of the service.
type endpoint struct {
	account, password, server, domain, transport string
}

func (e *endpoint) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&e.account, "account", "", "the `number` to be")
	cmd.Flags().StringVar(&e.password, "password", "", "its `password`")
	cmd.Flags().StringVar(&e.server, "server", "127.0.0.1:5060", "`host:port` of the service")
	cmd.Flags().StringVar(&e.domain, "domain", "", "the service's `name` in addresses (default: the server's host)")
	cmd.Flags().StringVar(&e.transport, "transport", "udp", "`how` SIP travels: udp or tcp")
}

// config is that of the agent, or a usage error.
func (e *endpoint) config(log *slog.Logger) (agent.Config, error) {
	if e.account == "" || e.password == "" {
		return agent.Config{}, usagef("an agent needs --account and --password")
	}
	proto, ok := map[string]transport.Proto{"udp": transport.UDP, "tcp": transport.TCP}[e.transport]
	if !ok {
		return agent.Config{}, usagef("--transport %q: there are udp and tcp", e.transport)
	}
	return agent.Config{
		Logger: log, Product: "liaison/" + version,
		Number: e.account, Password: e.password, Domain: e.domain, Server: e.server, Proto: proto,
	}, nil
}

// withAgent runs do while the agent works, and ends it in order.
func withAgent(ctx context.Context, cfg agent.Config, do func(context.Context, *agent.Agent) error) error {
	var err error
	if cfg.Recordings, err = agent.OpenRecordings(); err != nil {
		return err
	}
	a, err := agent.New(ctx, cfg)
	if err != nil {
		return err
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- a.Run(life) }()
	err = do(ctx, a)
	end()
	if e := <-ended; err == nil {
		err = e
	}
	return err
}

func (c *cli) callCommand() *cobra.Command {
	var (
		e     endpoint
		codec string
		d     agent.Dial
	)
	cmd := &cobra.Command{
		Use:   "call --account N --password P NUMBER",
		Short: "Call a number as a codec would, and measure; list and end calls",
		Long: `Call a number as a codec would, send the programme, listen, and print as JSON what was measured.
Exits 0 only if the call was answered and audio came back.`,
		Example: "  liaison call --account 45675001 --password secret --codec L16 --wav heard.wav 15000",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := e.config(newLogger(c.err, config.Log{Level: slog.LevelWarn}))
			if err != nil {
				return err
			}
			if codec != "" {
				only, err := agent.ParseCodec(codec)
				if err != nil {
					return usagef("--codec: %w", err)
				}
				d.Codecs = []agent.Codec{only}
			}
			if d.For < 0 {
				return usagef("--for %v: a period from 0 on, which is until the other side hangs up", d.For)
			}
			d.Number = args[0]
			return c.dial(cmd.Context(), cfg, d)
		},
	}
	e.flags(cmd)
	cmd.Flags().StringVar(&codec, "codec", "", "offer only this one: `NAME` or name/rate/channels (default: all)")
	cmd.Flags().DurationVar(&d.For, "for", 10*time.Second, "hang up so long after the answer; 0: when the other side does")
	cmd.Flags().StringVar(&d.File, "wav", "", "write what was received to this `file`")
	cmd.AddCommand(c.callList(), c.callEnd())
	return cmd
}

// dial makes the call and prints its report, whatever came of it.
func (c *cli) dial(ctx context.Context, cfg agent.Config, d agent.Dial) error {
	report := agent.Report{Number: d.Number}
	err := withAgent(ctx, cfg, func(ctx context.Context, a *agent.Agent) error {
		fmt.Fprintf(c.err, "calling %s through %s\n", d.Number, cfg.Server)
		report = a.Call(ctx, d)
		return nil
	})
	if err != nil && report.Error == nil {
		text := err.Error()
		report.Error = &text
	}
	if err := json.NewEncoder(c.out).Encode(report); err != nil {
		return err
	}
	if report.Error != nil {
		fmt.Fprintf(c.err, "liaison: %s\n", printable(*report.Error))
		return errReported
	}
	return nil
}
