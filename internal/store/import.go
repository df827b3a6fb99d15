package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"liaison/internal/account"
	"liaison/internal/digest"
)

// ImportOptions say how accounts are imported.
type ImportOptions struct {
	Update   bool                  // an account that is there with something else is changed; else it is an error
	Progress func(done, total int) // called now and then; may be nil
}

// ImportResult tells what an import did.
type ImportResult struct {
	Added, Updated, Unchanged int
	Subscribers               int      // made
	Ignored                   []string // columns that nobody knows
}

// ImportAccounts reads accounts from CSV, all or none: an ImportError names every bad row.
//
// The columns number and password must be there, kind (premium if empty) and subscriber may. Numbers are taken as they
// are. Without a subscriber a premium number belongs to whoever has its first four digits as prefix; if that is nobody,
// a subscriber is made with the prefix as its name. A number of four digits or less, and any number of another kind,
// then belongs to nobody. A subscriber is named by prefix, ID or name; a prefix that nobody has makes one, and so does
// a name that nobody has, with the number's prefix.
func (s *Store) ImportAccounts(ctx context.Context, r io.Reader, o ImportOptions) (ImportResult, error) {
	rows, ignored, err := readImport(r)
	result := ImportResult{Ignored: ignored}
	var bad ImportError
	if err != nil && (!errors.As(err, &bad) || rows == nil) {
		return result, err
	}
	if o.Progress == nil {
		o.Progress = func(int, int) {}
	}
	o.Progress(0, len(rows))

	// The costly part comes before the transaction: a server that saves registrations waits while it lasts.
	hashes := make([]digest.Hashes, len(rows))
	sealed := make([][]byte, len(rows))
	for i := range rows {
		hashes[i] = digest.Hash(string(rows[i].number), s.realm, rows[i].password)
		sealed[i] = s.secret.sealHashes(nil, rows[i].number, &hashes[i])
		if i%1024 == 0 && ctx.Err() != nil {
			return result, ctx.Err()
		}
	}
	err = s.write(ctx, func(t *transaction) error {
		im := importing{s: s, t: t, o: o, bad: bad}
		if err := im.load(ctx, rows); err != nil {
			return err
		}
		for i := range rows {
			if err := im.row(ctx, &rows[i], &hashes[i], sealed[i]); err != nil {
				return err
			}
			if (i+1)%1000 == 0 {
				o.Progress(i+1, len(rows))
			}
		}
		if err := im.finish(ctx); err != nil {
			return err
		}
		result.Added, result.Updated, result.Unchanged, result.Subscribers = im.added, im.updated, im.unchanged, im.made
		if len(im.bad) > 0 {
			slices.SortStableFunc(im.bad, func(a, b RowError) int { return cmp.Compare(a.Line, b.Line) })
			return im.bad
		}
		return nil
	})
	if err != nil {
		return ImportResult{Ignored: ignored}, err
	}
	o.Progress(len(rows), len(rows))
	return result, nil
}

// importing is one import in its transaction.
type importing struct {
	s   *Store
	t   *transaction
	o   ImportOptions
	bad ImportError

	existing map[account.Number]existing
	byPrefix map[string]account.Subscriber
	byName   map[string][]account.Subscriber
	byID     map[int64]account.Subscriber

	queue                           []any // arguments of rows that are not inserted yet
	insert                          *sql.Stmt
	last                            map[sequenceEnd]account.Number
	added, updated, unchanged, made int
}

// sequenceEnd names the sequence of a group.
type sequenceEnd struct {
	subscriber int64
	hunt       bool
}

type existing struct {
	kind       account.Kind
	subscriber int64
	hashes     digest.Hashes
}

const (
	insertAtOnce  = 50
	insertColumns = 5
)

// load reads what the rows are compared with.
func (im *importing) load(ctx context.Context, rows []importRow) error {
	im.last = map[sequenceEnd]account.Number{}
	im.byPrefix, im.byName, im.byID = map[string]account.Subscriber{}, map[string][]account.Subscriber{}, map[int64]account.Subscriber{}
	subs, err := im.t.QueryContext(ctx, `SELECT `+subscriberColumns+` FROM subscriber ORDER BY id`)
	if err != nil {
		return err
	}
	defer subs.Close()
	for subs.Next() {
		sub, err := scanSubscriber(subs.Scan)
		if err != nil {
			return err
		}
		im.know(sub)
	}
	if err := subs.Err(); err != nil {
		return err
	}

	im.existing = map[account.Number]existing{}
	wanted := make(map[string]struct{}, len(rows))
	for i := range rows {
		wanted[string(rows[i].number)] = struct{}{}
	}
	read := func(query string, args ...any) error {
		found, err := im.t.QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		defer found.Close()
		for found.Next() {
			var (
				number, hashes sql.RawBytes
				kind           string
				sub            sql.NullInt64
			)
			if err := found.Scan(&number, &kind, &sub, &hashes); err != nil {
				return err
			}
			if _, ok := wanted[string(number)]; !ok {
				continue
			}
			e := existing{subscriber: sub.Int64}
			if e.kind, err = account.ParseKind(kind); err != nil {
				return err
			}
			n := account.Number(number)
			// Hashes that do not open are those of no password: the row differs.
			e.hashes, _ = im.s.secret.openHashes(n, hashes)
			im.existing[n] = e
		}
		return found.Err()
	}
	const columns = `SELECT number, kind, subscriber, hashes FROM account`
	if len(rows) > manyAccounts {
		return read(columns)
	}
	for i := range rows {
		if err := read(columns+` WHERE number = $1`, rows[i].number); err != nil {
			return err
		}
	}
	return nil
}

func (im *importing) know(sub account.Subscriber) {
	if sub.Prefix != "" {
		im.byPrefix[sub.Prefix] = sub
	}
	im.byName[sub.Name] = append(im.byName[sub.Name], sub)
	im.byID[sub.ID] = sub
}

// row imports one row or notes what is wrong with it. An error is of the database.
func (im *importing) row(ctx context.Context, row *importRow, hashes *digest.Hashes, sealed []byte) error {
	old, there := im.existing[row.number]
	sub := account.Subscriber{ID: old.subscriber}
	// An account keeps its subscriber unless the row names one.
	if !there || row.subscriber != "" {
		var err error
		if sub, err = im.owner(ctx, row); err != nil {
			var r *refusal
			if errors.As(err, &r) {
				im.bad = append(im.bad, RowError{row.line, err})
				return nil
			}
			return err
		}
	}
	if !there {
		im.added++
		im.t.changed(ChangedAccount, string(row.number))
		im.advance(sub.ID, row)
		im.queue = append(im.queue, row.number, row.kind.String(), id(sub.ID), sealed, time.Now().UnixMilli())
		if len(im.queue) == insertAtOnce*insertColumns {
			return im.flush(ctx)
		}
		return nil
	}

	var differs []string
	if old.hashes != *hashes {
		differs = append(differs, "another password")
	}
	if old.kind != row.kind {
		differs = append(differs, fmt.Sprintf("the kind %v and not %v", old.kind, row.kind))
	}
	if old.subscriber != sub.ID {
		differs = append(differs, "another subscriber than "+row.subscriber)
	}
	switch {
	case differs == nil:
		im.unchanged++
	case !im.o.Update:
		im.bad = append(im.bad, RowError{row.line, fmt.Errorf("the account %s is there already, with %s: --update would change it", row.number, strings.Join(differs, " and "))})
	default:
		im.updated++
		im.t.changed(ChangedAccount, string(row.number))
		im.advance(sub.ID, row)
		_, err := im.t.ExecContext(ctx, `UPDATE account SET kind = $2, subscriber = $3, hashes = $4 WHERE number = $1`,
			row.number, row.kind.String(), id(sub.ID), sealed)
		return err
	}
	return nil
}

// owner finds or makes the subscriber of a new number. What the row has wrong is a refusal.
func (im *importing) owner(ctx context.Context, row *importRow) (account.Subscriber, error) {
	prefix, hasPrefix := row.number.Prefix()
	ref := row.subscriber
	if ref == "" {
		if !hasPrefix || !row.kind.Grouped() {
			return account.Subscriber{}, nil
		}
		if sub, ok := im.byPrefix[prefix]; ok {
			return sub, nil
		}
		return im.make(ctx, prefix, prefix)
	}
	if sub, ok := im.byPrefix[ref]; ok {
		return sub, nil
	}
	n, err := strconv.ParseInt(ref, 10, 64)
	if err == nil && len(ref) == account.PrefixLen {
		return im.make(ctx, ref, ref)
	}
	if sub, ok := im.byID[n]; ok && err == nil {
		return sub, nil
	}
	switch named := im.byName[ref]; {
	case len(named) == 1:
		return named[0], nil
	case len(named) > 1:
		return account.Subscriber{}, refuse(ErrExists, "several subscribers are called %q: name it by its prefix", ref)
	}
	if !hasPrefix || !row.kind.Grouped() {
		return account.Subscriber{}, refuse(ErrNotFound, "there is no subscriber %q, and none can be made for the number %s, which has no prefix", ref, row.number)
	}
	if other, ok := im.byPrefix[prefix]; ok {
		return account.Subscriber{}, refuse(ErrNotFound, "there is no subscriber %q, and the prefix %s belongs to %q", ref, prefix, other.Name)
	}
	return im.make(ctx, ref, prefix)
}

func (im *importing) make(ctx context.Context, name, prefix string) (account.Subscriber, error) {
	sub, err := im.t.insertSubscriber(ctx, NewSubscriber{Name: name, Prefix: prefix})
	if err != nil {
		return sub, err
	}
	im.made++
	im.know(sub)
	return sub, nil
}

// advance notes how far the sequence of a group has come.
func (im *importing) advance(subscriber int64, row *importRow) {
	prefix, ok := row.number.Prefix()
	if !ok || !row.kind.Grouped() || len(row.number) != account.PrefixLen+4 || im.byID[subscriber].Prefix != prefix {
		return
	}
	if n, err := strconv.Atoi(string(row.number[account.PrefixLen:])); err != nil || !account.InSequence(row.kind, n) {
		return
	}
	end := sequenceEnd{subscriber, row.kind == account.Hunt}
	im.last[end] = max(im.last[end], row.number)
}

// flush inserts what is queued, many rows with one statement.
func (im *importing) flush(ctx context.Context) error {
	n := len(im.queue) / insertColumns
	if n == 0 {
		return nil
	}
	defer func() { im.queue = im.queue[:0] }()
	if n < insertAtOnce {
		_, err := im.t.ExecContext(ctx, inOrder(insertAccounts(n)), im.queue...)
		return err
	}
	if im.insert == nil {
		var err error
		if im.insert, err = im.t.PrepareContext(ctx, inOrder(insertAccounts(n))); err != nil {
			return err
		}
	}
	_, err := im.insert.ExecContext(ctx, im.queue...)
	return err
}

func insertAccounts(rows int) string {
	b := []byte(`INSERT INTO account (number, kind, subscriber, hashes, created) VALUES `)
	for i := range rows {
		if i > 0 {
			b = append(b, ',')
		}
		p := i * insertColumns
		b = fmt.Appendf(b, "($%d,$%d,$%d,$%d,$%d)", p+1, p+2, p+3, p+4, p+5)
	}
	return string(b)
}

func (im *importing) finish(ctx context.Context) error {
	if err := im.flush(ctx); err != nil {
		return err
	}
	if im.insert != nil {
		defer im.insert.Close()
	}
	for end, number := range im.last {
		kind := account.Premium
		if end.hunt {
			kind = account.Hunt
		}
		if err := im.t.advance(ctx, end.subscriber, kind, number); err != nil {
			return err
		}
	}
	return nil
}
