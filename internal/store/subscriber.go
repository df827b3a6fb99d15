package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/mail"
	"strconv"
	"strings"
	"time"
	"unicode"

	"liaison/internal/account"
)

// Kinds of errors whose texts say more.
var (
	ErrNotFound = errors.New("not found")
	ErrExists   = errors.New("exists already")
)

// NewSubscriber is what a subscriber is made from.
type NewSubscriber struct {
	Name     string
	Email    string // of the technical contact; may be empty
	Prefix   string // empty: the first free one
	Accounts int    // premium accounts to begin with
}

// Credentials are what the owner of a new account is told, once.
type Credentials struct {
	Number   account.Number
	Password string
}

// CreateSubscriber makes a subscriber with its accounts, or nothing.
func (s *Store) CreateSubscriber(ctx context.Context, n NewSubscriber) (account.Subscriber, []Credentials, error) {
	if err := checkName(n.Name); err != nil {
		return account.Subscriber{}, nil, err
	}
	if err := checkEmail(n.Email); err != nil {
		return account.Subscriber{}, nil, err
	}
	if n.Prefix != "" {
		if err := account.ParsePrefix(n.Prefix); err != nil {
			return account.Subscriber{}, nil, err
		}
	}
	var (
		sub  account.Subscriber
		made []Credentials
	)
	err := s.write(ctx, func(t *transaction) (err error) {
		if sub, err = t.insertSubscriber(ctx, n); err != nil {
			return err
		}
		for range n.Accounts {
			c, err := s.insertNext(ctx, t, sub, account.Premium, "")
			if err != nil {
				return err
			}
			made = append(made, c)
		}
		return nil
	})
	return sub, made, err
}

func checkName(name string) error {
	if strings.TrimSpace(name) == "" {
		return errors.New("the name of the subscriber is empty")
	}
	if strings.ContainsFunc(name, unicode.IsControl) {
		return errors.New("the name of the subscriber has a control character")
	}
	return nil
}

func checkEmail(email string) error {
	if email == "" {
		return nil
	}
	if a, err := mail.ParseAddress(email); err != nil || a.Address != email {
		return fmt.Errorf("%q is not an e-mail address", email)
	}
	return nil
}

func (t *transaction) insertSubscriber(ctx context.Context, n NewSubscriber) (account.Subscriber, error) {
	sub := account.Subscriber{Name: n.Name, Email: n.Email, Prefix: n.Prefix, Created: time.Now().UTC().Truncate(time.Millisecond)}
	if sub.Prefix == "" {
		// A number that was given by hand may use a prefix that no subscriber has.
		var err error
		sub.Prefix, err = account.FreePrefix(func(p string) (taken bool) {
			if err := t.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM subscriber WHERE prefix = $1)
				OR EXISTS (SELECT 1 FROM account WHERE number >= $1 AND number < $2)`, p, p+":").Scan(&taken); err != nil {
				return true
			}
			return taken
		})
		if err != nil {
			return sub, err
		}
	} else if other, err := subscriberBy(ctx, t, "prefix", sub.Prefix); err == nil {
		return sub, refuse(ErrExists, "the prefix %s belongs to %s already", sub.Prefix, other.Name)
	} else if !errors.Is(err, ErrNotFound) {
		return sub, err
	}
	err := t.QueryRowContext(ctx, `UPDATE counter SET value = value + 1 WHERE name = 'subscriber' RETURNING value`).Scan(&sub.ID)
	if err != nil {
		return sub, err
	}
	_, err = t.ExecContext(ctx, `INSERT INTO subscriber (id, name, email, prefix, created) VALUES ($1, $2, $3, $4, $5)`,
		sub.ID, sub.Name, sub.Email, sub.Prefix, sub.Created.UnixMilli())
	t.changed(ChangedSubscriber, strconv.FormatInt(sub.ID, 10))
	return sub, err
}

// querier is a pool or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

const subscriberColumns = `id, name, email, COALESCE(prefix, ''), created`

func scanSubscriber(scan func(...any) error) (account.Subscriber, error) {
	var (
		sub     account.Subscriber
		created sql.NullInt64
	)
	err := scan(&sub.ID, &sub.Name, &sub.Email, &sub.Prefix, &created)
	sub.Created = moment(created)
	return sub, err
}

// subscriberBy finds a subscriber by one column of its table.
func subscriberBy(ctx context.Context, q querier, column string, value any) (account.Subscriber, error) {
	rows, err := q.QueryContext(ctx, `SELECT `+subscriberColumns+` FROM subscriber WHERE `+column+` = $1 ORDER BY id LIMIT 2`, value)
	if err != nil {
		return account.Subscriber{}, err
	}
	defer rows.Close()
	var found []account.Subscriber
	for rows.Next() {
		sub, err := scanSubscriber(rows.Scan)
		if err != nil {
			return sub, err
		}
		found = append(found, sub)
	}
	switch {
	case rows.Err() != nil:
		return account.Subscriber{}, rows.Err()
	case len(found) == 0:
		return account.Subscriber{}, refuse(ErrNotFound, "there is no subscriber %v", value)
	case len(found) > 1:
		return account.Subscriber{}, fmt.Errorf("several subscribers are called %v: name it by its prefix", value)
	}
	return found[0], nil
}

// Subscriber finds a subscriber by its prefix, its ID or its name, tried in this order.
func (s *Store) Subscriber(ctx context.Context, ref string) (account.Subscriber, error) {
	return findSubscriber(ctx, s.read, ref)
}

func findSubscriber(ctx context.Context, q querier, ref string) (account.Subscriber, error) {
	sub, err := subscriberBy(ctx, q, "prefix", ref)
	if id, perr := strconv.ParseInt(ref, 10, 64); errors.Is(err, ErrNotFound) && perr == nil {
		sub, err = subscriberBy(ctx, q, "id", id)
	}
	if errors.Is(err, ErrNotFound) {
		sub, err = subscriberBy(ctx, q, "name", ref)
	}
	if errors.Is(err, ErrNotFound) {
		err = refuse(ErrNotFound, "there is no subscriber with prefix, ID or name %q", ref)
	}
	return sub, err
}

// ListedSubscriber is a subscriber and how many accounts it has.
type ListedSubscriber struct {
	account.Subscriber
	Accounts int
}

// Subscribers lists all, in the order in which they were made.
func (s *Store) Subscribers(ctx context.Context) ([]ListedSubscriber, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT `+subscriberColumns+`,
		(SELECT COUNT(*) FROM account WHERE account.subscriber = subscriber.id) FROM subscriber ORDER BY id`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	list := []ListedSubscriber{}
	for rows.Next() {
		var l ListedSubscriber
		l.Subscriber, err = scanSubscriber(func(to ...any) error { return rows.Scan(append(to, &l.Accounts)...) })
		if err != nil {
			return nil, err
		}
		list = append(list, l)
	}
	return list, rows.Err()
}
