package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// ChangeKind says what sort of thing was changed.
type ChangeKind string

// The kinds of changes.
const (
	ChangedAccount    ChangeKind = "account"    // Subject: the number; empty: many, load all
	ChangedSubscriber ChangeKind = "subscriber" // Subject: the ID
	RequestedCallEnd  ChangeKind = "call-end"   // Subject: the ID of the call that an operator ends
)

// Change is a row of the change sequence: something that whoever serves from memory must notice.
type Change struct {
	Seq     int64
	Kind    ChangeKind
	Subject string
}

// changed notes a change for the sequence. It is numbered at the end of the transaction, in it.
func (t *transaction) changed(kind ChangeKind, subject string) {
	t.changes = append(t.changes, Change{Kind: kind, Subject: subject})
}

// manyAccounts: from so many changed accounts on, reading all of them is cheaper than reading each.
const manyAccounts = 500

func (t *transaction) number(ctx context.Context) error {
	if len(t.changes) == 0 {
		return nil
	}
	accounts := 0
	for _, c := range t.changes {
		if c.Kind == ChangedAccount {
			accounts++
		}
	}
	if accounts > manyAccounts {
		kept := []Change{{Kind: ChangedAccount}}
		for _, c := range t.changes {
			if c.Kind != ChangedAccount {
				kept = append(kept, c)
			}
		}
		t.changes = kept
	}
	var last int64
	err := t.QueryRowContext(ctx, `UPDATE counter SET value = value + $1 WHERE name = 'change' RETURNING value`, len(t.changes)).Scan(&last)
	if err != nil {
		return err
	}
	now := time.Now().UnixMilli()
	for i, c := range t.changes {
		_, err := t.ExecContext(ctx, `INSERT INTO change (seq, made, kind, subject) VALUES ($1, $2, $3, $4)`,
			last-int64(len(t.changes)-1-i), now, c.Kind, c.Subject)
		if err != nil {
			return err
		}
	}
	return nil
}

// ErrBehind: the changes that were asked for are not kept any more. Load everything, and follow from there.
var ErrBehind = errors.New("the change sequence does not reach back so far: load everything again")

const (
	followEvery = 200 * time.Millisecond
	keepChanges = 24 * time.Hour
	followAtOne = 1000 // changes at a time
)

// Follow calls each with the changes after from, in their order, until ctx ends (then the error is nil) or the sequence
// does not reach back so far (ErrBehind). A change is noticed within a fraction of a second, whichever process made it.
// A database that does not answer is asked again.
func (s *Store) Follow(ctx context.Context, from int64, each func([]Change)) error {
	// data_version says whether others committed something since this very connection last asked: so it is a
	// connection of its own, which nobody else uses and which writes nothing.
	db, err := connect(s.file, 1, "query_only(1)")
	if err != nil {
		return err
	}
	defer db.Close()

	var seen int64
	failing := false
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		err := func() error {
			var version int64
			if err := db.QueryRowContext(ctx, `PRAGMA data_version`).Scan(&version); err != nil {
				return err
			}
			if version == seen {
				return nil
			}
			for {
				changes, err := s.changesAfter(ctx, from)
				if err != nil {
					return err
				}
				if len(changes) == 0 {
					break
				}
				each(changes)
				from = changes[len(changes)-1].Seq
			}
			seen = version
			return nil
		}()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrBehind):
			return err
		case err != nil && !failing:
			s.log.Error("the database does not tell what was changed; asking on", slog.Any("error", err))
		case err == nil && failing:
			s.log.Info("the database tells again what was changed")
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (s *Store) changesAfter(ctx context.Context, from int64) ([]Change, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT seq, kind, subject FROM change WHERE seq > $1 ORDER BY seq LIMIT $2`, from, followAtOne)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var changes []Change
	for rows.Next() {
		var c Change
		if err := rows.Scan(&c.Seq, &c.Kind, &c.Subject); err != nil {
			return nil, err
		}
		changes = append(changes, c)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	// After the changes were read: what is pruned between the two is then noticed.
	var pruned, last int64
	err = s.read.QueryRowContext(ctx, `SELECT (SELECT value FROM counter WHERE name = 'change pruned'), value FROM counter WHERE name = 'change'`).Scan(&pruned, &last)
	if err != nil {
		return nil, err
	}
	// A number from the future is that of another database: an older one was restored.
	if from < pruned || from > last {
		return nil, ErrBehind
	}
	return changes, nil
}

// pruneChanges forgets changes from before a moment.
func (s *Store) pruneChanges(ctx context.Context, before time.Time) error {
	err := s.write(ctx, func(t *transaction) error {
		_, err := t.ExecContext(ctx, `UPDATE counter SET value = (SELECT MAX(seq) FROM change WHERE made < $1)
			WHERE name = 'change pruned' AND EXISTS (SELECT 1 FROM change WHERE made < $1)`, before.UnixMilli())
		if err != nil {
			return err
		}
		_, err = t.ExecContext(ctx, `DELETE FROM change WHERE seq <= (SELECT value FROM counter WHERE name = 'change pruned')`)
		return err
	})
	if err != nil {
		return fmt.Errorf("old changes: %w", err)
	}
	return nil
}
