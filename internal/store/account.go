package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"liaison/internal/account"
	"liaison/internal/digest"
)

// ListedAccount is an account as it is shown: without its hashes.
type ListedAccount struct {
	account.Account
	SubscriberName string
	Created        time.Time
}

// NewAccount is what an account is made from.
type NewAccount struct {
	Number     string // as given, any length; empty: the next of the subscriber's sequence
	Kind       account.Kind
	Subscriber string // prefix, ID or name; empty: by the number's prefix, for premium kinds
	Password   string // empty: a random one
	ValidFrom  time.Time
	ValidUntil time.Time
}

// AddAccount makes an account. What it returns is all that is ever told of the password.
//
// A premium number belongs to the subscriber that is named, else to the one that has its first four digits as its
// prefix; a prefix that nobody has makes a subscriber. A number of four digits or less has no prefix, and belongs to
// nobody unless a subscriber is named; so do the numbers of all other kinds.
func (s *Store) AddAccount(ctx context.Context, n NewAccount) (Credentials, error) {
	if n.Password != "" {
		if err := account.CheckPassword(n.Password); err != nil {
			return Credentials{}, err
		}
	}
	if n.Number == "" && n.Subscriber == "" {
		return Credentials{}, errors.New("neither a number nor a subscriber was given: a number can only be allocated in the group of a subscriber")
	}
	var number account.Number
	if n.Number != "" {
		var err error
		if number, err = account.ParseNumber(n.Number); err != nil {
			return Credentials{}, err
		}
	}
	var c Credentials
	err := s.write(ctx, func(t *transaction) error {
		var (
			sub account.Subscriber
			err error
		)
		if n.Subscriber != "" {
			if sub, err = findSubscriber(ctx, t, n.Subscriber); err != nil {
				return err
			}
		}
		if number == "" {
			c, err = s.insertNext(ctx, t, sub, n.Kind, n.Password)
			return err
		}
		if prefix, ok := number.Prefix(); ok && sub.ID == 0 && n.Kind.Grouped() {
			sub, err = subscriberBy(ctx, t, "prefix", prefix)
			if errors.Is(err, ErrNotFound) {
				sub, err = t.insertSubscriber(ctx, NewSubscriber{Name: prefix, Prefix: prefix})
			}
			if err != nil {
				return err
			}
		}
		c, err = s.insertAccount(ctx, t, account.Account{
			Number: number, Kind: n.Kind, Subscriber: sub.ID, ValidFrom: n.ValidFrom, ValidUntil: n.ValidUntil,
		}, n.Password)
		return err
	})
	return c, err
}

// insertNext gives the next number of the group's sequence.
func (s *Store) insertNext(ctx context.Context, t *transaction, sub account.Subscriber, kind account.Kind, password string) (Credentials, error) {
	column, ok := sequenceColumn(kind)
	if !ok {
		return Credentials{}, fmt.Errorf("%v accounts have no sequence in a group: give the number", kind)
	}
	if sub.Prefix == "" {
		return Credentials{}, fmt.Errorf("the subscriber %s has no prefix: give the number", sub.Name)
	}
	var last int
	if err := t.QueryRowContext(ctx, `SELECT `+column+` FROM subscriber WHERE id = $1`, sub.ID).Scan(&last); err != nil {
		return Credentials{}, err
	}
	for _, number := range account.Sequence(sub.Prefix, kind, last) {
		var taken bool
		if err := t.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM account WHERE number = $1)`, number).Scan(&taken); err != nil {
			return Credentials{}, err
		}
		if !taken {
			return s.insertAccount(ctx, t, account.Account{Number: number, Kind: kind, Subscriber: sub.ID}, password)
		}
	}
	return Credentials{}, account.SequenceFull(sub.Prefix, kind)
}

func sequenceColumn(kind account.Kind) (string, bool) {
	switch kind {
	case account.Premium, account.Mobile:
		return "last_premium", true
	case account.Hunt:
		return "last_hunt", true
	}
	return "", false
}

// insertAccount writes an account with this password, or a random one.
func (s *Store) insertAccount(ctx context.Context, t *transaction, a account.Account, password string) (Credentials, error) {
	c := Credentials{Number: a.Number, Password: password}
	if password == "" {
		c.Password = account.NewPassword()
	}
	hashes := digest.Hash(string(a.Number), s.realm, c.Password)
	r, err := t.ExecContext(ctx, `INSERT INTO account (number, kind, subscriber, hashes, valid_from, valid_until, created)
		VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (number) DO NOTHING`,
		a.Number, a.Kind.String(), id(a.Subscriber), s.secret.sealHashes(nil, a.Number, &hashes),
		millis(a.ValidFrom), millis(a.ValidUntil), time.Now().UnixMilli())
	if err != nil {
		return c, err
	}
	if n, err := r.RowsAffected(); err != nil {
		return c, err
	} else if n == 0 {
		return c, refuse(ErrExists, "the account %s is there already", a.Number)
	}
	t.changed(ChangedAccount, string(a.Number))
	return c, t.advance(ctx, a.Subscriber, a.Kind, a.Number)
}

// advance makes the sequence of a group go on behind a number, so that one that was removed is not sold again.
func (t *transaction) advance(ctx context.Context, subscriber int64, kind account.Kind, number account.Number) error {
	column, ok := sequenceColumn(kind)
	prefix, _ := number.Prefix()
	if !ok || subscriber == 0 || len(number) != account.PrefixLen+4 {
		return nil
	}
	n, err := strconv.Atoi(string(number[account.PrefixLen:]))
	if err != nil || !account.InSequence(kind, n) {
		return nil
	}
	_, err = t.ExecContext(ctx, `UPDATE subscriber SET `+column+` = $1 WHERE id = $2 AND prefix = $3 AND `+column+` < $1`, n, subscriber, prefix)
	return err
}

func id(n int64) sql.NullInt64 { return sql.NullInt64{Int64: n, Valid: n != 0} }

// SetPassword gives an account another password, a random one if none is given, and returns it.
func (s *Store) SetPassword(ctx context.Context, n account.Number, password string) (string, error) {
	if password == "" {
		password = account.NewPassword()
	} else if err := account.CheckPassword(password); err != nil {
		return "", err
	}
	hashes := digest.Hash(string(n), s.realm, password)
	err := s.alter(ctx, n, `UPDATE account SET hashes = $2 WHERE number = $1`, n, s.secret.sealHashes(nil, n, &hashes))
	return password, err
}

// SetLocked locks or unlocks an account.
func (s *Store) SetLocked(ctx context.Context, n account.Number, locked bool) error {
	return s.alter(ctx, n, `UPDATE account SET locked = $2 WHERE number = $1`, n, locked)
}

// RemoveAccount takes an account away. Its number is not allocated again.
func (s *Store) RemoveAccount(ctx context.Context, n account.Number) error {
	return s.alter(ctx, n, `DELETE FROM account WHERE number = $1`, n)
}

// alter runs a statement about one account.
func (s *Store) alter(ctx context.Context, n account.Number, query string, args ...any) error {
	return s.write(ctx, func(t *transaction) error {
		r, err := t.ExecContext(ctx, query, args...)
		if err != nil {
			return err
		}
		if found, err := r.RowsAffected(); err != nil {
			return err
		} else if found == 0 {
			return noAccount(n)
		}
		t.changed(ChangedAccount, string(n))
		return nil
	})
}

func noAccount(n account.Number) error {
	return refuse(ErrNotFound, "there is no account %.40q", string(n))
}

// EnsureTest makes the account of a test number that the service answers itself, if it is not there. Nobody is told
// its password.
func (s *Store) EnsureTest(ctx context.Context, n account.Number) error {
	return s.write(ctx, func(t *transaction) error { return s.ensureTest(ctx, t, n) })
}

func (s *Store) ensureTest(ctx context.Context, t *transaction, n account.Number) error {
	var kind string
	err := t.QueryRowContext(ctx, `SELECT kind FROM account WHERE number = $1`, n).Scan(&kind)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		_, err = s.insertAccount(ctx, t, account.Account{Number: n, Kind: account.Test}, "")
		return err
	case err != nil:
		return err
	case kind != account.Test.String():
		return fmt.Errorf("the number %s is a %s account and not a test number", n, kind)
	}
	return nil
}

// SetTest switches a test number on or off.
func (s *Store) SetTest(ctx context.Context, n account.Number, on bool) error {
	return s.write(ctx, func(t *transaction) error {
		var kind string
		err := t.QueryRowContext(ctx, `SELECT kind FROM account WHERE number = $1`, n).Scan(&kind)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return refuse(ErrNotFound, "there is no test number %.40q", string(n))
		case err != nil:
			return err
		case kind != account.Test.String():
			return fmt.Errorf("the number %s is a %s account and not a test number: use \"liaison account lock %s\"", n, kind, n)
		}
		_, err = t.ExecContext(ctx, `UPDATE account SET switched_off = $2 WHERE number = $1`, n, !on)
		t.changed(ChangedAccount, string(n))
		return err
	})
}

const listedColumns = `number, kind, COALESCE(subscriber, 0), locked, switched_off, valid_from, valid_until, account.created,
	COALESCE((SELECT name FROM subscriber WHERE subscriber.id = account.subscriber), '')`

func scanListed(scan func(...any) error) (ListedAccount, error) {
	var (
		l                    ListedAccount
		kind                 string
		from, until, created sql.NullInt64
	)
	err := scan(&l.Number, &kind, &l.Subscriber, &l.Locked, &l.Off, &from, &until, &created, &l.SubscriberName)
	if err != nil {
		return l, err
	}
	l.ValidFrom, l.ValidUntil, l.Created = moment(from), moment(until), moment(created)
	l.Kind, err = account.ParseKind(kind)
	return l, err
}

// Account gives what is known of one account.
func (s *Store) Account(ctx context.Context, n account.Number) (ListedAccount, error) {
	l, err := scanListed(s.read.QueryRowContext(ctx, `SELECT `+listedColumns+` FROM account WHERE number = $1`, n).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return l, noAccount(n)
	}
	return l, err
}

// Accounts lists the accounts by number: all, or those of one subscriber.
func (s *Store) Accounts(ctx context.Context, subscriber int64) ([]ListedAccount, error) {
	query := `SELECT ` + listedColumns + ` FROM account`
	var args []any
	if subscriber != 0 {
		query += ` WHERE subscriber = $1`
		args = append(args, subscriber)
	}
	rows, err := s.read.QueryContext(ctx, query+` ORDER BY number`, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	list := []ListedAccount{}
	for rows.Next() {
		l, err := scanListed(rows.Scan)
		if err != nil {
			return nil, err
		}
		list = append(list, l)
	}
	return list, rows.Err()
}

// LoadAccounts fills the directory and gives the place in the change sequence from which to follow.
func (s *Store) LoadAccounts(ctx context.Context, d *account.Directory) (seq int64, err error) {
	tx, err := s.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return 0, err
	}
	defer tx.Rollback()
	if err := tx.QueryRowContext(ctx, `SELECT value FROM counter WHERE name = 'change'`).Scan(&seq); err != nil {
		return 0, err
	}
	prefixes, err := loadPrefixes(ctx, tx)
	if err != nil {
		return 0, err
	}
	var n int
	if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM account`).Scan(&n); err != nil {
		return 0, err
	}
	accounts := make([]account.Account, 0, n)
	rows, err := tx.QueryContext(ctx, `SELECT `+servedColumns+` FROM account`)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for rows.Next() {
		a, err := s.scanServed(rows.Scan)
		if err != nil {
			return 0, err
		}
		accounts = append(accounts, a)
	}
	if err := rows.Err(); err != nil {
		return 0, err
	}
	d.SetPrefixes(prefixes)
	d.Replace(accounts)
	return seq, nil
}

func loadPrefixes(ctx context.Context, q querier) (map[int64]string, error) {
	rows, err := q.QueryContext(ctx, `SELECT id, prefix FROM subscriber WHERE prefix IS NOT NULL`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	m := map[int64]string{}
	for rows.Next() {
		var (
			id     int64
			prefix string
		)
		if err := rows.Scan(&id, &prefix); err != nil {
			return nil, err
		}
		m[id] = prefix
	}
	return m, rows.Err()
}

const servedColumns = `number, kind, subscriber, hashes, locked, switched_off, valid_from, valid_until`

// scanServed reads an account with its hashes. One whose hashes do not open stays, with hashes that no password has:
// the others are not to suffer for it.
func (s *Store) scanServed(scan func(...any) error) (account.Account, error) {
	var (
		a                account.Account
		kind             string
		sub, from, until sql.NullInt64
		hashes           sql.RawBytes
	)
	err := scan(&a.Number, &kind, &sub, &hashes, &a.Locked, &a.Off, &from, &until)
	if err != nil {
		return a, err
	}
	a.Subscriber, a.ValidFrom, a.ValidUntil = sub.Int64, moment(from), moment(until)
	if a.Kind, err = account.ParseKind(kind); err != nil {
		return a, fmt.Errorf("account %s: %w", a.Number, err)
	}
	if a.Hashes, err = s.secret.openHashes(a.Number, hashes); err != nil {
		s.log.Error("an account cannot be used", slog.Any("error", err))
		a.Hashes = digest.Hash(string(a.Number), s.realm, account.NewPassword())
	}
	return a, nil
}

// ApplyAccounts brings a directory up to date with changes that Follow gave; those of other kinds are passed over.
func (s *Store) ApplyAccounts(ctx context.Context, d *account.Directory, changes []Change) error {
	for _, c := range changes {
		switch {
		case c.Kind == ChangedAccount && c.Subject == "":
			// It is as new as all of the changes, or newer.
			_, err := s.LoadAccounts(ctx, d)
			return err
		case c.Kind == ChangedSubscriber:
			id, err := strconv.ParseInt(c.Subject, 10, 64)
			if err != nil {
				return fmt.Errorf("change %d has the subscriber %q", c.Seq, c.Subject)
			}
			sub, err := subscriberBy(ctx, s.read, "id", id)
			if err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
			d.SetPrefixes(map[int64]string{id: sub.Prefix})
		case c.Kind == ChangedAccount:
			a, err := s.served(ctx, c.Subject)
			if errors.Is(err, sql.ErrNoRows) {
				d.Remove(account.Number(c.Subject))
			} else if err != nil {
				return err
			} else {
				d.Set(a)
			}
			s.log.Debug("account changed", slog.String("account", c.Subject))
		}
	}
	return nil
}

// served reads one account; RawBytes need rows.
func (s *Store) served(ctx context.Context, number string) (account.Account, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT `+servedColumns+` FROM account WHERE number = $1`, number)
	if err != nil {
		return account.Account{}, err
	}
	defer rows.Close()
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return account.Account{}, err
		}
		return account.Account{}, sql.ErrNoRows
	}
	return s.scanServed(rows.Scan)
}
