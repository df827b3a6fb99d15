package store

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"liaison/internal/account"
	"liaison/internal/call"
)

const callColumns = `id, call_id, caller, dialled, callee, started, answered, ended, status, cause, ended_by,
	caller_agent, callee_agent, caller_addr, callee_addr, codecs_offered, codecs_agreed, caller_subscriber, callee_subscriber, media`

const numCallColumns = 20

// insertCalls is the statement for so many rows.
func insertCalls(rows int) string {
	b := []byte(`INSERT INTO call (` + callColumns + `) VALUES `)
	for i := range rows * numCallColumns {
		switch {
		case i == 0:
			b = append(b, '(')
		case i%numCallColumns == 0:
			b = append(b, "), ("...)
		default:
			b = append(b, ',')
		}
		b = fmt.Appendf(b, "$%d", i+1)
	}
	return string(b) + `)
	ON CONFLICT (id) DO UPDATE SET callee = excluded.callee, answered = excluded.answered, ended = excluded.ended,
	status = excluded.status, cause = excluded.cause, ended_by = excluded.ended_by, callee_agent = excluded.callee_agent,
	caller_addr = excluded.caller_addr, callee_addr = excluded.callee_addr, codecs_offered = excluded.codecs_offered,
	codecs_agreed = excluded.codecs_agreed, callee_subscriber = excluded.callee_subscriber, media = excluded.media`
}

func scanCall(rows *sql.Rows) (r call.Record, err error) {
	var (
		started, answered, ended       sql.NullInt64
		callerAddr, calleeAddr         string
		callerSubscriber, calleeSubscr sql.NullInt64
	)
	err = rows.Scan(&r.ID, &r.CallID, &r.Caller, &r.Dialled, &r.Callee, &started, &answered, &ended, &r.Status, &r.Cause,
		&r.EndedBy, &r.CallerAgent, &r.CalleeAgent, &callerAddr, &calleeAddr, &r.Offered, &r.Agreed, &callerSubscriber, &calleeSubscr, &r.Media)
	if err != nil {
		return r, err
	}
	r.Started, r.Answered, r.Ended = moment(started), moment(answered), moment(ended)
	r.CallerSubscriber, r.CalleeSubscriber = callerSubscriber.Int64, calleeSubscr.Int64
	if r.CallerAddr, err = parseAddr(callerAddr); err == nil {
		r.CalleeAddr, err = parseAddr(calleeAddr)
	}
	return r, err
}

// addrText is empty for no address.
func addrText(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func parseAddr(s string) (netip.AddrPort, error) {
	if s == "" {
		return netip.AddrPort{}, nil
	}
	return netip.ParseAddrPort(s)
}

// Records gives the newest calls, those that are still up among them, in the order of their starts: the newest last.
// A limit of 0 gives all.
func (s *Store) Records(ctx context.Context, limit int) ([]call.Record, error) {
	tx, err := s.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("records: %w", err)
	}
	defer tx.Rollback()
	list, _, err := openCalls(ctx, tx)
	if err != nil {
		return nil, fmt.Errorf("records: %w", err)
	}
	n := int64(limit)
	if limit <= 0 {
		n = 1<<63 - 1
	}
	rows, err := tx.QueryContext(ctx, `SELECT `+callColumns+` FROM call ORDER BY id DESC LIMIT $1`, n)
	if err != nil {
		return nil, fmt.Errorf("records: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		r, err := scanCall(rows)
		if err != nil {
			return nil, fmt.Errorf("records: %w", err)
		}
		list = append(list, r)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("records: %w", err)
	}
	sortRecords(list)
	if limit > 0 && len(list) > limit {
		list = list[len(list)-limit:]
	}
	return list, nil
}

func sortRecords(list []call.Record) {
	slices.SortFunc(list, func(a, b call.Record) int { return cmp.Compare(a.ID, b.ID) })
}

// OpenCalls is that of call.Recorder. Another process may use it to list them.
func (s *Store) OpenCalls(ctx context.Context) ([]call.Record, error) {
	tx, err := s.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("open calls: %w", err)
	}
	defer tx.Rollback()
	list, row, err := openCalls(ctx, tx)
	if err != nil {
		return nil, fmt.Errorf("open calls: %w", err)
	}
	tx.Rollback()
	sortRecords(list)

	// What is saved of these calls from now on takes the place of what was read.
	s.writing.Lock()
	defer s.writing.Unlock()
	c := &s.calls
	for id, seq := range row {
		if _, known := c.row[id]; !known {
			c.row[id] = seq
			c.live[seq]++
		}
	}
	return list, nil
}

// openCalls reads the calls that are up, and for each the row of call_open where it stands.
func openCalls(ctx context.Context, q querier) ([]call.Record, map[string]int64, error) {
	rows, err := q.QueryContext(ctx, `SELECT seq, data FROM call_open ORDER BY seq`)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	open, row := map[string]call.Record{}, map[string]int64{}
	for rows.Next() {
		var (
			seq  int64
			data sql.RawBytes
		)
		if err := rows.Scan(&seq, &data); err != nil {
			return nil, nil, err
		}
		u := unpacker{b: data}
		for u.more() {
			if r := u.record(); u.err == nil {
				open[r.ID], row[r.ID] = r, seq
			}
		}
		if u.err != nil {
			return nil, nil, fmt.Errorf("row %d of call_open: %w", seq, u.err)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, nil, err
	}
	list := make([]call.Record, 0, len(open))
	for id, r := range open {
		var over bool
		if err := q.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM call WHERE id = $1)`, id).Scan(&over); err != nil {
			return nil, nil, err
		}
		if over {
			delete(row, id)
			continue
		}
		list = append(list, r)
	}
	return list, row, nil
}

// The first byte of a packed record. They are in databases.
const (
	recordWithoutMedia = 1
	recordFormat       = 2
)

func packRecord(b []byte, r *call.Record) []byte {
	b = append(b, recordFormat)
	b = packText(b, r.ID)
	b = packText(b, r.CallID)
	b = packText(b, r.Caller)
	b = packText(b, r.Dialled)
	b = packText(b, r.Callee)
	b = packTime(b, r.Started)
	b = packTime(b, r.Answered)
	b = binary.AppendUvarint(b, uint64(r.Status))
	b = packText(b, r.Cause)
	b = packText(b, r.CallerAgent)
	b = packText(b, r.CalleeAgent)
	b = packAddr(b, r.CallerAddr)
	b = packAddr(b, r.CalleeAddr)
	b = packText(b, r.Offered)
	b = packText(b, r.Agreed)
	b = binary.AppendVarint(b, r.CallerSubscriber)
	b = binary.AppendVarint(b, r.CalleeSubscriber)
	b = packText(b, r.Dialog)
	return packText(b, r.Media)
}

func (u *unpacker) record() (r call.Record) {
	format := u.byte()
	if format != recordFormat && format != recordWithoutMedia {
		u.fail()
		return r
	}
	r.ID = u.text()
	r.CallID = u.text()
	r.Caller = account.Number(u.text())
	r.Dialled = u.text()
	r.Callee = account.Number(u.text())
	r.Started = u.time()
	r.Answered = u.time()
	r.Status = int(u.uint())
	r.Cause = u.text()
	r.CallerAgent = u.text()
	r.CalleeAgent = u.text()
	r.CallerAddr = u.addr()
	r.CalleeAddr = u.addr()
	r.Offered = u.text()
	r.Agreed = u.text()
	r.CallerSubscriber = u.int()
	r.CalleeSubscriber = u.int()
	r.Dialog = bytes.Clone(u.bytes())
	if format == recordFormat {
		r.Media = u.text()
	}
	return r
}

// EndCall asks the service to end a call. A service that does not run does it at its next start.
func (s *Store) EndCall(ctx context.Context, id string) error {
	return s.write(ctx, func(t *transaction) error {
		open, _, err := openCalls(ctx, t)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(open, func(r call.Record) bool { return r.ID == id }) {
			var ended sql.NullInt64
			err := t.QueryRowContext(ctx, `SELECT ended FROM call WHERE id = $1`, id).Scan(&ended)
			if errors.Is(err, sql.ErrNoRows) {
				return refuse(ErrNotFound, "there is no call %.40q: \"liaison call list\" shows those that are up", id)
			} else if err != nil {
				return err
			}
			return fmt.Errorf("the call %s has ended already, at %s", id, moment(ended).Format(time.RFC3339))
		}
		_, err = t.ExecContext(ctx, `INSERT INTO call_end (id, made) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING`, id, time.Now().UnixMilli())
		t.changed(RequestedCallEnd, id)
		return err
	})
}

// CallEnds gives the calls of which EndCall asked the end lately, whether or not they have ended: for a start, which
// has not seen the changes before it.
func (s *Store) CallEnds(ctx context.Context) ([]string, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT id FROM call_end ORDER BY made`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var ids []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}
