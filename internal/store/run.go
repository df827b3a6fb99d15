package store

import (
	"context"
	"log/slog"
	"time"
)

// Run keeps the database short until ctx ends: only the process that serves runs it.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(foldEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			s.tidy(ctx, now)
		}
	}
}

func (s *Store) tidy(ctx context.Context, now time.Time) {
	report := func(err error) {
		if err != nil && ctx.Err() == nil {
			s.log.Error("the database could not be tidied; trying again later", slog.Any("error", err))
		}
	}
	report(s.foldBindings(ctx, now.Add(-foldAfter), now))
	report(s.pruneChanges(ctx, now.Add(-keepChanges)))
	report(s.write(ctx, func(t *transaction) error {
		_, err := t.ExecContext(ctx, `DELETE FROM call_end WHERE made < $1`, now.Add(-keepChanges).UnixMilli())
		return err
	}))
}
