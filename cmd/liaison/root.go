package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"liaison/internal/config"
)

// The exit codes, which others' scripts rely on.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// cli is what all subcommands share: the global options and where results and messages go.
type cli struct {
	configFile string
	data       string
	json       bool
	out        io.Writer // results
	err        io.Writer // logs, errors, progress

	started bool // the arguments were understood: what fails now is no usage error
}

// run is the program without its process: the arguments in, the exit code out.
func run(ctx context.Context, args []string, out, errw io.Writer) int {
	c := &cli{out: out, err: errw}
	root := c.root()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errw)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	if errors.Is(err, errReported) {
		return exitFailed
	}
	fmt.Fprintf(errw, "liaison: %v\n", err)
	var usage usageError
	if !c.started || errors.As(err, &usage) {
		fmt.Fprintf(errw, "See %s --help\n", cmd.CommandPath())
		return exitUsage
	}
	return exitFailed
}

// usageError is a mistake in the arguments that only the subcommand itself could see.
type usageError struct{ error }

func usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

// errReported ends a subcommand as failed after its result was printed and says it all.
var errReported = errors.New("failed")

func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "liaison",
		Short:         "A SIP service for broadcast audio codecs",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	flags := root.PersistentFlags()
	flags.StringVar(&c.configFile, "config", "", "configuration `file` (default $LIAISON_CONFIG, else "+config.SystemFile+" if it is there)")
	flags.StringVar(&c.data, "data", "", "data `folder`; beats the configuration file's")
	flags.BoolVar(&c.json, "json", false, "print the result as JSON")
	root.AddCommand(
		c.serveCommand(),
		c.callCommand(),
		c.agentCommand(),
		c.subscriberCommand(),
		c.accountCommand(),
		c.bindingCommand(),
		c.recordCommand(),
		c.testCommand(),
		c.backupCommand(),
		c.restoreCommand(),
		c.configCommand(),
		c.versionCommand(),
	)
	c.prepare(root)
	return root
}

// prepare makes every subcommand tell when it has started, and every group of subcommands insist on one: cobra would
// print its help and exit 0 for a misspelt one.
func (c *cli) prepare(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		c.prepare(sub)
	}
	run := cmd.RunE
	if run == nil {
		cmd.Args = cobra.ArbitraryArgs
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("there is no command %q", cmd.CommandPath()+" "+args[0])
			}
			return usagef("%s needs a command", cmd.CommandPath())
		}
		return
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c.started = true
		return run(cmd, args)
	}
}
