package store

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"liaison/internal/account"
	"liaison/internal/registrar"
	"liaison/internal/sip/transport"
)

// Bindings change hundreds of times for each time that they are read, and they are read only at a start and by who
// lists them. So each group commit is one row of binding_log with all its changes packed, which costs about a
// microsecond a change where a row for each costs ten. Old rows of the log are folded into the table binding
// (bindingfold.go), so that the log stays short.

// bindingLog is the writing end of binding_log.
type bindingLog struct {
	mu     sync.Mutex // one SaveBindings at a time
	insert *sql.Stmt
	last   int64 // number of the newest row
	buf    []byte
	data   []byte
}

// Kinds of packed changes. They are in databases: never renumber.
const (
	packedAdded     = 1
	packedRefreshed = 2
	packedReached   = 3
	packedRemoved   = 4
)

// SaveBindings is that of registrar.Store.
func (s *Store) SaveBindings(ctx context.Context, changes []registrar.Change) error {
	if len(changes) == 0 {
		return nil
	}
	l := &s.bindings
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = l.buf[:0]
	for i := range changes {
		l.pack(&changes[i])
	}
	if l.insert == nil {
		if err := s.quick.QueryRowContext(ctx, `SELECT COALESCE(MAX(seq), 0) FROM binding_log`).Scan(&l.last); err != nil {
			return fmt.Errorf("bindings: %w", err)
		}
		var err error
		if l.insert, err = s.quick.PrepareContext(ctx, inOrder(`INSERT INTO binding_log (seq, data) VALUES ($1, $2)`)); err != nil {
			return fmt.Errorf("bindings: %w", err)
		}
	}
	// The number is the time, so that the age of a row is known; it rises also while the clock is set back.
	seq := max(l.last+1, time.Now().UnixMicro())
	s.writing.Lock()
	_, err := l.insert.ExecContext(ctx, seq, l.buf)
	s.writing.Unlock()
	if err != nil {
		return fmt.Errorf("bindings: %w", err)
	}
	l.last = seq
	if cap(l.buf) > 1<<20 {
		l.buf = nil // a storm is over
	}
	return nil
}

func (l *bindingLog) pack(c *registrar.Change) {
	x := &c.Binding
	switch c.Kind {
	case registrar.Added:
		l.buf = binary.AppendVarint(append(l.buf, packedAdded), x.ID)
		l.buf = packText(l.buf, x.AOR)
		l.buf = packRefresh(l.buf, x)
		l.buf = packReach(l.buf, x)
		l.data = packBinding(l.data[:0], x)
		l.buf = packText(l.buf, l.data)
	case registrar.Refreshed:
		l.buf = packRefresh(binary.AppendVarint(append(l.buf, packedRefreshed), x.ID), x)
	case registrar.Reached:
		l.buf = packReach(binary.AppendVarint(append(l.buf, packedReached), x.ID), x)
	case registrar.Removed:
		l.buf = binary.AppendVarint(append(l.buf, packedRemoved), x.ID)
	default:
		panic("store: unknown kind of binding change")
	}
}

func packRefresh(b []byte, x *registrar.Binding) []byte {
	return binary.AppendUvarint(packTime(b, x.Expires), uint64(x.CSeq))
}

func packReach(b []byte, x *registrar.Binding) []byte {
	return packTime(append(b, byte(x.Reach)), x.Seen)
}

// bindingFormat is the first byte of what packBinding makes. It is in databases.
const bindingFormat = 1

// packBinding packs what never changes under the ID of a binding, or only by an Added.
func packBinding(b []byte, x *registrar.Binding) []byte {
	b = append(b, bindingFormat)
	b = packText(b, x.Contact)
	b = packText(b, x.Instance)
	b = binary.AppendUvarint(b, uint64(x.RegID))
	b = packText(b, x.CallID)
	b = binary.AppendUvarint(b, uint64(x.Q))
	b = packText(b, x.Path)
	b = packText(b, x.UserAgent)
	b = append(b, byte(x.Flow.Proto))
	b = packAddr(b, x.Flow.Local)
	b = packAddr(b, x.Flow.Remote)
	b = binary.AppendUvarint(b, uint64(x.Flow.Conn))
	return packTime(b, x.Since)
}

func unpackBinding(data []byte, x *registrar.Binding) error {
	u := unpacker{b: data}
	if u.byte() != bindingFormat {
		return errPacked
	}
	x.Contact = u.text()
	x.Instance = u.text()
	x.RegID = uint32(u.uint())
	x.CallID = u.text()
	x.Q = uint16(u.uint())
	x.Path = u.text()
	x.UserAgent = u.text()
	x.Flow.Proto = transport.Proto(u.byte())
	x.Flow.Local = u.addr()
	x.Flow.Remote = u.addr()
	x.Flow.Conn = uint32(u.uint())
	x.Since = u.time()
	return u.err
}

// packedChange is one change as it stands in the log.
type packedChange struct {
	kind    byte
	id      int64
	number  account.Number
	expires time.Time
	cseq    uint32
	reach   registrar.Reach
	seen    time.Time
	data    []byte // a view
}

func (u *unpacker) change() (c packedChange) {
	c.kind, c.id = u.byte(), u.int()
	switch c.kind {
	case packedAdded:
		c.number = account.Number(u.text())
		c.expires, c.cseq = u.time(), uint32(u.uint())
		c.reach, c.seen = registrar.Reach(u.byte()), u.time()
		c.data = u.bytes()
	case packedRefreshed:
		c.expires, c.cseq = u.time(), uint32(u.uint())
	case packedReached:
		c.reach, c.seen = registrar.Reach(u.byte()), u.time()
	case packedRemoved:
	default:
		u.fail()
	}
	return c
}

// storedBinding is what table and log together say of a binding.
type storedBinding struct {
	number  account.Number
	expires time.Time
	cseq    uint32
	reach   registrar.Reach
	seen    time.Time
	data    []byte
}

// Bindings is that of registrar.Store. It may run in another process than the service.
func (s *Store) Bindings(ctx context.Context, each func(*registrar.Binding) error) error {
	// One snapshot for both: between two, folding could move a binding out of sight.
	tx, err := s.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return fmt.Errorf("bindings: %w", err)
	}
	defer tx.Rollback()
	all, err := foldedBindings(ctx, tx)
	if err != nil {
		return fmt.Errorf("bindings: %w", err)
	}
	err = eachLogged(ctx, tx, func(_ int64, c *packedChange) {
		x, ok := all[c.id]
		switch c.kind {
		case packedAdded:
			x = storedBinding{c.number, c.expires, c.cseq, c.reach, c.seen, bytes.Clone(c.data)}
			ok = true
		case packedRefreshed:
			x.expires, x.cseq = c.expires, c.cseq
		case packedReached:
			x.reach, x.seen = c.reach, c.seen
		case packedRemoved:
			delete(all, c.id)
			return
		}
		if ok {
			all[c.id] = x
		}
	})
	if err != nil {
		return fmt.Errorf("bindings: %w", err)
	}
	tx.Rollback() // what each does may take its time
	var x registrar.Binding
	for id, stored := range all {
		x = registrar.Binding{ID: id, AOR: stored.number, Expires: stored.expires, CSeq: stored.cseq, Reach: stored.reach, Seen: stored.seen}
		if err := unpackBinding(stored.data, &x); err != nil {
			return fmt.Errorf("binding %d of %s: %w", id, stored.number, err)
		}
		if err := each(&x); err != nil {
			return err
		}
	}
	return nil
}

func foldedBindings(ctx context.Context, q querier) (map[int64]storedBinding, error) {
	rows, err := q.QueryContext(ctx, `SELECT id, number, expires, cseq, reach, seen, data FROM binding`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := map[int64]storedBinding{}
	for rows.Next() {
		var (
			id            int64
			x             storedBinding
			expires, seen int64
		)
		if err := rows.Scan(&id, &x.number, &expires, &x.cseq, &x.reach, &seen, &x.data); err != nil {
			return nil, err
		}
		x.expires, x.seen = fromMillis(expires), fromMillis(seen)
		all[id] = x
	}
	return all, rows.Err()
}

// eachLogged reads the log in its order. The change and its data are used again after each returns.
func eachLogged(ctx context.Context, q querier, each func(seq int64, c *packedChange)) error {
	rows, err := q.QueryContext(ctx, `SELECT seq, data FROM binding_log ORDER BY seq`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var (
			seq  int64
			data sql.RawBytes
		)
		if err := rows.Scan(&seq, &data); err != nil {
			return err
		}
		u := unpacker{b: data}
		for u.more() {
			c := u.change()
			if u.err == nil {
				each(seq, &c)
			}
		}
		if u.err != nil {
			return fmt.Errorf("row %d of binding_log: %w", seq, u.err)
		}
	}
	return rows.Err()
}
