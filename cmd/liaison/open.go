package main

import (
	"context"

	"github.com/spf13/cobra"

	"liaison/internal/config"
	"liaison/internal/store"
)

// load reads the configuration that the options name.
func (c *cli) load() (*config.Config, error) {
	return config.Load(config.Find(c.configFile), c.data)
}

// withStore runs do with the open database of the configured data folder.
func (c *cli) withStore(ctx context.Context, do func(*store.Store, *config.Config) error) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	s, err := store.Open(ctx, storeConfig(cfg, c))
	if err != nil {
		return err
	}
	err = do(s, cfg)
	if e := s.Close(); err == nil {
		err = e
	}
	return err
}

func storeConfig(cfg *config.Config, c *cli) store.Config {
	return store.Config{Dir: cfg.Data, SecretFile: cfg.SecretFile, Realm: cfg.Realm, Logger: newLogger(c.err, cfg.Log)}
}

// stored makes a subcommand that works on the database.
func (c *cli) stored(do func(ctx context.Context, s *store.Store, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		return c.withStore(cmd.Context(), func(s *store.Store, _ *config.Config) error { return do(cmd.Context(), s, args) })
	}
}
