package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"liaison/internal/store"
)

func (c *cli) accountImport() *cobra.Command {
	var options store.ImportOptions
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Make accounts from a CSV file, all or none",
		Long: `Make accounts from a CSV file, all or none.

The first line names the columns: number and password, and if you like kind (default premium) and subscriber. A prefix
that no subscriber has makes one. A row that is there already with the same values changes nothing; with other values it
is an error unless --update is given. Every bad row is reported with its line, and then nothing is imported.`,
		Args: cobra.ExactArgs(1),
		RunE: c.stored(func(ctx context.Context, s *store.Store, args []string) error {
			return c.importFile(ctx, s, args[0], options)
		}),
	}
	cmd.Flags().BoolVar(&options.Update, "update", false, "change accounts that are there with other values")
	return cmd
}

func (c *cli) importFile(ctx context.Context, s *store.Store, name string, options store.ImportOptions) error {
	f, err := os.Open(name)
	if err != nil {
		var path *fs.PathError
		if errors.As(err, &path) {
			err = path.Err
		}
		return fmt.Errorf("%s cannot be read: %w", name, err)
	}
	defer f.Close()
	last := time.Now()
	options.Progress = func(done, total int) {
		if now := time.Now(); now.Sub(last) >= time.Second {
			last = now
			fmt.Fprintf(c.err, "%d of %d rows\n", done, total)
		}
	}
	result, err := s.ImportAccounts(ctx, f, options)
	if len(result.Ignored) > 0 {
		fmt.Fprintf(c.err, "liaison: %s: columns that mean nothing here: %s\n", name, printable(strings.Join(result.Ignored, ", ")))
	}
	var bad store.ImportError
	if errors.As(err, &bad) {
		for _, row := range bad {
			fmt.Fprintf(c.err, "liaison: %s:%d: %v\n", name, row.Line, row.Err)
		}
		fmt.Fprintf(c.err, "liaison: %s: %d bad rows, nothing was imported\n", name, len(bad))
		return errReported
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if c.json {
		return c.printJSON(struct {
			Added       int `json:"added"`
			Updated     int `json:"updated"`
			Unchanged   int `json:"unchanged"`
			Subscribers int `json:"subscribers"` // made
		}{result.Added, result.Updated, result.Unchanged, result.Subscribers})
	}
	_, err = fmt.Fprintf(c.out, "%d added, %d updated, %d unchanged; %d subscribers made\n", result.Added, result.Updated, result.Unchanged, result.Subscribers)
	return err
}
