package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"liaison/internal/call"
)

// A call that is up is packed with the others of its group commit in a row of call_open: that is written once at its
// answer, seldom again, and read only by a restart and by who lists. When the call has ended it becomes a row of its
// own in the table call, where it can be searched.

const (
	// gather is how long a record waits for others to share a transaction with. A flush to the disk costs as much
	// processor time as ten calls, and nobody notices an answer that is 10 ms late.
	gather = 10 * time.Millisecond
	// maxWaiting calls wait; with a disk that does not keep up more than that are refused.
	maxWaiting = 4096
)

var errFull = errors.New("the database does not keep up: too many records wait to be written")
var errClosed = errors.New("the database is closed")

// committer writes records in groups. One goroutine, from Open to Close.
type committer struct {
	mu      sync.Mutex
	waiting []saving
	closed  bool
	wake    chan struct{} // something waits
	done    chan struct{}

	// Of whoever holds Store.writing.
	insert [len(callsAtOnce)]*sql.Stmt
	args   []any
	buf    []byte
	last   int64            // number of the newest row of call_open
	row    map[string]int64 // open calls: the row of call_open that counts
	live   map[int64]int    // rows of call_open: how many calls in it count
}

type saving struct {
	record call.Record
	done   func(error)
}

// Save is that of call.Recorder.
func (s *Store) Save(r call.Record, done func(error)) {
	c := &s.calls
	c.mu.Lock()
	var err error
	switch {
	case c.closed:
		err = errClosed
	case len(c.waiting) >= maxWaiting:
		err = errFull
	default:
		c.waiting = append(c.waiting, saving{r, done})
	}
	c.mu.Unlock()
	if err != nil {
		go done(err) // not on the caller's goroutine: it may hold what done needs
		return
	}
	signal(c.wake)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (c *committer) start(s *Store) {
	c.wake, c.done = make(chan struct{}, 1), make(chan struct{})
	c.row, c.live = map[string]int64{}, map[int64]int{}
	go c.run(s)
}

// stop writes what waits.
func (c *committer) stop() {
	if c.done == nil {
		return
	}
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	signal(c.wake)
	<-c.done
}

func (c *committer) run(s *Store) {
	defer close(c.done)
	for {
		<-c.wake
		time.Sleep(gather)
		c.mu.Lock()
		group, closed := c.waiting, c.closed
		c.waiting = nil
		c.mu.Unlock()
		if len(group) > 0 {
			err := s.saveCalls(group)
			if err != nil {
				err = fmt.Errorf("records: %w", err)
			}
			for _, g := range group {
				g.done(err)
			}
		}
		if closed {
			return
		}
	}
}

// saveCalls writes a group in one transaction.
func (s *Store) saveCalls(group []saving) error {
	c := &s.calls
	// Of several states of a call only the last one counts.
	newest := make(map[string]*call.Record, len(group))
	for i := range group {
		newest[group[i].record.ID] = &group[i].record
	}
	var open, ended []*call.Record
	for i := range group {
		r := &group[i].record
		switch {
		case newest[r.ID] != r:
		case r.Open():
			open = append(open, r)
		default:
			ended = append(ended, r)
		}
	}

	ctx := context.Background() // it ends by itself, and whoever waits for done waits for that
	s.writing.Lock()
	defer s.writing.Unlock()
	if c.insert[0] == nil {
		for i, n := range callsAtOnce {
			var err error
			if c.insert[i], err = s.full.PrepareContext(ctx, inOrder(insertCalls(n))); err != nil {
				return err
			}
		}
	}
	tx, err := s.full.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := c.insertEnded(ctx, tx, ended); err != nil {
		return err
	}
	seq := int64(0)
	if len(open) > 0 {
		if err := tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(seq), 0) FROM call_open`).Scan(&seq); err != nil {
			return err
		}
		seq = max(seq, c.last) + 1
		b := c.buf[:0]
		for _, r := range open {
			b = packRecord(b, r)
		}
		if c.buf = b; cap(b) > 1<<20 {
			c.buf = nil
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO call_open (seq, data) VALUES ($1, $2)`, seq, b); err != nil {
			return err
		}
	}
	// Rows of call_open in which no call counts any more.
	left := map[int64]int{}
	for id := range newest {
		if old, ok := c.row[id]; ok {
			left[old]++
		}
	}
	for row, n := range left {
		if c.live[row] > n {
			continue
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM call_open WHERE seq = $1`, row); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return err
	}

	for row, n := range left {
		if c.live[row] -= n; c.live[row] <= 0 {
			delete(c.live, row)
		}
	}
	for _, r := range ended {
		delete(c.row, r.ID)
	}
	for _, r := range open {
		c.row[r.ID] = seq
		c.live[seq]++
	}
	c.last = max(c.last, seq)
	return nil
}

// callsAtOnce: a statement costs as much as the rows that it inserts, so where there are many they share one.
var callsAtOnce = [2]int{16, 1}

// insertEnded writes calls that have ended.
func (c *committer) insertEnded(ctx context.Context, tx *sql.Tx, ended []*call.Record) error {
	for i, n := range callsAtOnce {
		for len(ended) >= n {
			c.args = c.args[:0]
			for _, r := range ended[:n] {
				c.args = append(c.args, r.ID, r.CallID, r.Caller, r.Dialled, r.Callee,
					toMillis(r.Started), millis(r.Answered), toMillis(r.Ended), r.Status, r.Cause, r.EndedBy,
					r.CallerAgent, r.CalleeAgent, addrText(r.CallerAddr), addrText(r.CalleeAddr), r.Offered, r.Agreed,
					id(r.CallerSubscriber), id(r.CalleeSubscriber), r.Media)
			}
			if _, err := tx.StmtContext(ctx, c.insert[i]).ExecContext(ctx, c.args...); err != nil {
				return err
			}
			ended = ended[n:]
		}
	}
	return nil
}
