package store

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"time"
)

const (
	// foldEvery and foldAfter bound the log to about a quarter of an hour of changes. Most bindings are refreshed
	// every few minutes, so of what is older little has to be written: what was added, and what is refreshed rarely.
	foldEvery = 5 * time.Minute
	foldAfter = 10 * time.Minute
	// foldAtOnce rows are written in one transaction; a registration waits for no longer than that takes.
	foldAtOnce = 200
	// expiredFor keeps what ran out a moment ago: a refresh may be on its way to the log.
	expiredFor = 2 * time.Minute
)

var upsertBinding = inOrder(`INSERT INTO binding (id, number, expires, cseq, reach, seen, data) VALUES ($1, $2, $3, $4, $5, $6, $7)
	ON CONFLICT (id) DO UPDATE SET number = excluded.number, expires = excluded.expires, cseq = excluded.cseq,
	reach = excluded.reach, seen = excluded.seen, data = excluded.data`)

// folding is what the old part of the log says of one binding, and what the part that stays says too.
type folding struct {
	added, removed     bool // by the last of the old changes of these two kinds
	refreshed, reached bool // after that
	binding            storedBinding

	replaced     bool // the part that stays adds or removes it
	refreshedNew bool
	reachedNew   bool
}

// foldBindings moves what the log said before a moment into the table binding, and drops bindings that ran out. It may
// be cut off at any point: the log is read over the table, and what is in both says the same.
func (s *Store) foldBindings(ctx context.Context, before, now time.Time) error {
	cut := before.UnixMicro()
	all := map[int64]*folding{}
	rest := map[int64]struct{}{} // bindings of which the part that stays speaks
	err := eachLogged(ctx, s.read, func(seq int64, c *packedChange) {
		f := all[c.id]
		if seq > cut {
			rest[c.id] = struct{}{}
			if f != nil {
				f.replaced = f.replaced || c.kind == packedAdded || c.kind == packedRemoved
				f.refreshedNew = f.refreshedNew || c.kind == packedRefreshed
				f.reachedNew = f.reachedNew || c.kind == packedReached
			}
			return
		}
		if f == nil {
			f = new(folding)
			all[c.id] = f
		}
		f.old(c)
	})
	if err != nil {
		return fmt.Errorf("fold bindings: %w", err)
	}

	gone := now.Add(-expiredFor)
	b := batch{ctx: ctx, s: s}
	for id, f := range all {
		x := &f.binding
		over := x.expires.Before(gone) && !f.refreshedNew
		switch {
		case f.replaced:
		case f.removed, f.added && over, f.refreshed && over:
			b.exec(`DELETE FROM binding WHERE id = $1`, id)
		case f.added:
			b.exec(upsertBinding,
				id, x.number, toMillis(x.expires), x.cseq, x.reach, toMillis(x.seen), x.data)
		default:
			if f.refreshed && !f.refreshedNew {
				b.exec(`UPDATE binding SET expires = $2, cseq = $3 WHERE id = $1`, id, toMillis(x.expires), x.cseq)
			}
			if f.reached && !f.reachedNew {
				b.exec(`UPDATE binding SET reach = $2, seen = $3 WHERE id = $1`, id, x.reach, toMillis(x.seen))
			}
		}
	}
	over, err := overdue(ctx, s.read, gone)
	if err != nil {
		return fmt.Errorf("fold bindings: %w", err)
	}
	for _, id := range over {
		// One that was refreshed looks overdue in the table.
		if _, ok := rest[id]; ok || all[id] != nil {
			continue
		}
		b.exec(`DELETE FROM binding WHERE id = $1`, id)
	}
	// The log goes last and from its beginning: what is left of it must be right over the table as it is now.
	for b.ok() {
		var upTo sql.NullInt64
		err := s.read.QueryRowContext(ctx, `SELECT MAX(seq) FROM (SELECT seq FROM binding_log WHERE seq <= $1 ORDER BY seq LIMIT $2) AS oldest`,
			cut, foldAtOnce).Scan(&upTo)
		if err != nil {
			return fmt.Errorf("fold bindings: %w", err)
		}
		if !upTo.Valid {
			break
		}
		b.exec(`DELETE FROM binding_log WHERE seq <= $1`, upTo.Int64)
		b.flush()
	}
	if b.err != nil {
		return fmt.Errorf("fold bindings: %w", b.err)
	}
	return nil
}

func (f *folding) old(c *packedChange) {
	x := &f.binding
	switch c.kind {
	case packedAdded:
		*f = folding{added: true, binding: storedBinding{c.number, c.expires, c.cseq, c.reach, c.seen, bytes.Clone(c.data)}}
	case packedRemoved:
		*f = folding{removed: true}
	case packedRefreshed:
		f.refreshed = true
		x.expires, x.cseq = c.expires, c.cseq
	case packedReached:
		f.reached = true
		x.reach, x.seen = c.reach, c.seen
	}
}

// overdue gives the bindings that by the table alone have run out.
func overdue(ctx context.Context, q querier, before time.Time) ([]int64, error) {
	rows, err := q.QueryContext(ctx, `SELECT id FROM binding WHERE expires < $1`, before.UnixMilli())
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var ids []int64
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

// batch runs statements on the connection for bindings, a few in each transaction.
type batch struct {
	ctx   context.Context
	s     *Store
	queue []statement
	err   error
}

type statement struct {
	query string
	args  []any
}

func (b *batch) ok() bool {
	b.flush()
	return b.err == nil
}

func (b *batch) exec(query string, args ...any) {
	b.queue = append(b.queue, statement{query, args})
	if len(b.queue) >= foldAtOnce {
		b.flush()
	}
}

func (b *batch) flush() {
	if b.err != nil || len(b.queue) == 0 {
		return
	}
	b.err = func() error {
		b.s.writing.Lock()
		defer b.s.writing.Unlock()
		tx, err := b.s.quick.BeginTx(b.ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		prepared := map[string]*sql.Stmt{}
		for _, st := range b.queue {
			p := prepared[st.query]
			if p == nil {
				if p, err = tx.PrepareContext(b.ctx, st.query); err != nil {
					return err
				}
				defer p.Close()
				prepared[st.query] = p
			}
			if _, err := p.ExecContext(b.ctx, st.args...); err != nil {
				return err
			}
		}
		return tx.Commit()
	}()
	b.queue = b.queue[:0]
	if b.s.folded != nil {
		b.s.folded()
	}
}
