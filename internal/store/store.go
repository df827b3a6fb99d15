// Package store keeps everything that has to outlive the process, in one SQLite database in the data folder.
//
// The command line and the service open the same database at the same time. What one of them changes the others learn
// from the change sequence and in no other way.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	_ "modernc.org/sqlite" // the driver
)

// Config says where things are.
type Config struct {
	Dir        string // the data folder; made if it is not there
	SecretFile string // empty: secret.key in Dir
	Realm      string // of digest authentication; empty: that of the database
	Logger     *slog.Logger
}

// DefaultRealm is that of a database whose first start was told nothing.
const DefaultRealm = "liaison"

// Store is an open database. Safe for concurrent use.
type Store struct {
	file, secretFile string
	realm            string
	secret           secret
	log              *slog.Logger

	// SQLite has one writer at a time. Waiting for it inside of SQLite is done by sleeping, so our own writers queue at
	// this lock; only other processes are waited for by sleeping.
	writing sync.Mutex
	full    *sql.DB // one connection: accounts and calls, on the disk before it returns
	quick   *sql.DB // one connection: bindings, which survive kill -9; a power cut may cost the last of them
	read    *sql.DB // lists, loading

	bindings bindingLog
	folded   func() // tests: after each transaction of folding
	calls    committer
}

const (
	// busy is how long a statement waits for another process that writes. An import of 100,000 accounts writes for
	// about two seconds.
	busy    = 10 * time.Second
	readers = 4
)

// Open opens the database of a data folder, makes or migrates it if necessary, and checks key and realm.
func Open(ctx context.Context, c Config) (*Store, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if err := openFolder(c.Dir); err != nil {
		return nil, err
	}
	s := &Store{file: filepath.Join(c.Dir, databaseName), secretFile: c.SecretFile, log: c.Logger}
	if s.secretFile == "" {
		s.secretFile = filepath.Join(c.Dir, secretName)
	}
	err := alone(c.Dir, func() error { return s.open(ctx, c.Realm) })
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.calls.start(s)
	return s, nil
}

func (s *Store) open(ctx context.Context, realm string) error {
	// SQLite would make the file readable for everybody, and its WAL like it.
	f, err := os.OpenFile(s.file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("database %s cannot be opened: %w; it must belong to the user that runs the service", s.file, cause(err))
	}
	f.Close()

	s.full, err = connect(s.file, 1, "synchronous(FULL)")
	if err == nil {
		s.quick, err = connect(s.file, 1, "synchronous(NORMAL)")
	}
	if err == nil {
		s.read, err = connect(s.file, readers, "query_only(1)")
	}
	if err != nil {
		return err
	}
	if err := migrate(ctx, s.full); err != nil {
		return fmt.Errorf("database %s: %w", s.file, err)
	}
	tx, err := s.full.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("database %s: %w", s.file, err)
	}
	defer tx.Rollback()
	if s.secret, err = openSecret(ctx, tx, s.secretFile); err != nil {
		return err
	}
	if s.realm, err = fixRealm(ctx, tx, realm); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("database %s: %w", s.file, err)
	}
	return nil
}

// connect opens a pool of SQLite connections.
func connect(file string, connections int, pragmas ...string) (*sql.DB, error) {
	q := url.Values{"_pragma": append([]string{
		fmt.Sprintf("busy_timeout(%d)", busy.Milliseconds()),
		"journal_mode(WAL)",
		"foreign_keys(1)",
	}, pragmas...)}
	// A transaction that writes takes the lock at its begin: one that reads first and then finds another writer at work
	// could not wait for it.
	if !slices.Contains(pragmas, "query_only(1)") {
		q.Set("_txlock", "immediate")
	}
	abs, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: abs, RawQuery: q.Encode()}).String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

// Close waits for what was begun and closes the database.
func (s *Store) Close() error {
	s.calls.stop()
	var err error
	for _, db := range []*sql.DB{s.read, s.quick, s.full} {
		if db != nil {
			err = errors.Join(err, db.Close())
		}
	}
	return err
}

// Realm is what the password hashes were made with.
func (s *Store) Realm() string { return s.realm }

// File is the path of the database.
func (s *Store) File() string { return s.file }

// Healthy writes nothing and tells whether the database answers.
func (s *Store) Healthy(ctx context.Context) error {
	var one int
	return s.read.QueryRowContext(ctx, `SELECT 1 FROM counter WHERE name = 'change'`).Scan(&one)
}

// transaction collects the changes that others must notice.
type transaction struct {
	*sql.Tx
	changes []Change
}

// write runs fn in one transaction that is on the disk when write returns nil.
func (s *Store) write(ctx context.Context, fn func(*transaction) error) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	tx, err := s.full.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("database %s: %w", s.file, err)
	}
	defer tx.Rollback()
	t := &transaction{Tx: tx}
	if err := fn(t); err != nil {
		return err
	}
	if err := t.number(ctx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("database %s: %w", s.file, err)
	}
	return nil
}

// Times are milliseconds in the database.

func millis(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: t.UnixMilli(), Valid: !t.IsZero()}
}

func moment(ms sql.NullInt64) time.Time {
	if !ms.Valid {
		return time.Time{}
	}
	return time.UnixMilli(ms.Int64).UTC()
}
