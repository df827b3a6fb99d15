package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"liaison/internal/account"
	"liaison/internal/registrar"
)

// open opens a store that is closed with the test.
func open(t testing.TB, c Config) *Store {
	t.Helper()
	s, err := Open(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func newStore(t testing.TB) *Store { return open(t, Config{Dir: t.TempDir()}) }

// dir is the data folder.
func (s *Store) dir() string { return filepath.Dir(s.file) }

func wantError(t testing.TB, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", parts)
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("an error of several lines: %q", err)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not say %q", err, p)
		}
	}
}

func TestFilesAreForTheirOwnerAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "data")
	s := open(t, Config{Dir: dir})
	if _, err := s.AddAccount(t.Context(), NewAccount{Number: "45675001"}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{".": 0o700, databaseName: 0o600, databaseName + "-wal": 0o600, secretName: 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

func TestDataFolderThatCannotBeUsedSaysWhatToDo(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), Config{Dir: file})
	wantError(t, err, file, "--data")
	_, err = Open(t.Context(), Config{Dir: filepath.Join(file, "below")})
	wantError(t, err, file, "not a directory", "--data")
	if os.Geteuid() == 0 {
		return // root reads everything
	}
	dir := t.TempDir()
	os.Chmod(dir, 0o500)
	_, err = Open(t.Context(), Config{Dir: dir})
	wantError(t, err, dir, "permission denied", "chown")
}

func TestRealmIsFixedAtTheFirstStart(t *testing.T) {
	for _, row := range []struct{ first, second, want, err string }{
		{"", "", "liaison", ""},
		{"", "liaison", "liaison", ""},
		{"radio", "", "radio", ""},
		{"radio", "radio", "radio", ""},
		{"radio", "liaison", "", `realm: "liaison"`},
		{"", "radio", "", `made for realm "liaison"`},
	} {
		dir := t.TempDir()
		s, err := Open(t.Context(), Config{Dir: dir, Realm: row.first})
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		s, err = Open(t.Context(), Config{Dir: dir, Realm: row.second})
		if row.err != "" {
			wantError(t, err, row.err)
			continue
		}
		if err != nil || s.Realm() != row.want {
			t.Errorf("%+v: %v, %v", row, s.Realm(), err)
		}
		s.Close()
	}
}

func TestKeyIsProvedBeforeAnAccountIsRead(t *testing.T) {
	for _, row := range []struct {
		name     string
		accounts bool
		key      func(file string) error
		want     string
	}{
		{"without accounts a missing key is made again", false, os.Remove, ""},
		{"without accounts another key is taken", false, otherKey, ""},
		{"a missing key is told", true, os.Remove, "is missing"},
		{"another key is told", true, otherKey, "is not the one"},
		{"a short key is told", true, func(f string) error { return os.WriteFile(f, []byte("x"), 0o600) }, "1 bytes"},
		{"a folder is told", true, func(f string) error { return errors.Join(os.Remove(f), os.Mkdir(f, 0o700)) }, "cannot be read"},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(t.TempDir(), "key")
			c := Config{Dir: dir, SecretFile: file}
			s, err := Open(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if row.accounts {
				if _, err := s.AddAccount(t.Context(), NewAccount{Number: "45675001"}); err != nil {
					t.Fatal(err)
				}
			}
			s.Close()
			if err := row.key(file); err != nil {
				t.Fatal(err)
			}
			s, err = Open(t.Context(), c)
			if row.want != "" {
				wantError(t, err, file, row.want)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if _, err := s.AddAccount(t.Context(), NewAccount{Number: "45675001"}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func otherKey(file string) error { return os.WriteFile(file, bytes.Repeat([]byte{7}, keySize), 0o600) }

func TestADatabaseOfANewerProgramIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(t.Context(), Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.full.Exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, TRUE)`); err != nil {
		t.Fatal(err)
	}
	s.Close()
	_, err = Open(t.Context(), Config{Dir: dir})
	wantError(t, err, "newer version of liaison", "999")
}

func TestAFileThatIsNoDatabaseIsToldAndKept(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, databaseName)
	text := []byte(strings.Repeat("this is not a database\n", 100))
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), Config{Dir: dir})
	wantError(t, err, file)
	if b, _ := os.ReadFile(file); !bytes.Equal(b, text) {
		t.Error("the file was changed")
	}
}

func TestFirstStartsAtTheSameTimeAgree(t *testing.T) {
	dir := t.TempDir()
	type result struct {
		s   *Store
		err error
	}
	results := make(chan result)
	for range 4 {
		go func() {
			s, err := Open(context.Background(), Config{Dir: dir})
			results <- result{s, err}
		}()
	}
	var stores []*Store
	for range 4 {
		r := <-results
		if r.err != nil {
			t.Fatal(r.err)
		}
		defer r.s.Close()
		stores = append(stores, r.s)
	}
	c, err := stores[0].AddAccount(t.Context(), NewAccount{Number: "45675001"})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range stores {
		checkPassword(t, s, c.Number, c.Password)
	}
}

func TestOneServerOnADataFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	l, err := TakeLock(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = TakeLock(dir)
	wantError(t, err, dir, "a server runs", "process ")
	l.Close()
	if l, err = TakeLock(dir); err != nil {
		t.Fatal(err)
	}
	l.Close()
}

func TestADiskThatIsFullLosesNothingThatWasThere(t *testing.T) {
	s := newStore(t)
	c, err := s.AddAccount(t.Context(), NewAccount{Number: "45675001"})
	if err != nil {
		t.Fatal(err)
	}
	var pages int
	if err := s.full.QueryRow(`PRAGMA page_count`).Scan(&pages); err != nil {
		t.Fatal(err)
	}
	if _, err := s.full.Exec(`PRAGMA max_page_count = ` + itoa(pages)); err != nil {
		t.Fatal(err)
	}
	var csv strings.Builder
	csv.WriteString("number,password\n")
	for i := range 5000 {
		csv.WriteString(string(account.Number("2000"+itoa(10000+i))) + ",secret\n")
	}
	_, err = s.ImportAccounts(t.Context(), strings.NewReader(csv.String()), ImportOptions{})
	wantError(t, err, "full")
	checkPassword(t, s, c.Number, c.Password)
	if _, err := s.full.Exec(`PRAGMA max_page_count = 1000000`); err != nil {
		t.Fatal(err)
	}
	if r, err := s.ImportAccounts(t.Context(), strings.NewReader(csv.String()), ImportOptions{}); err != nil || r.Added != 5000 {
		t.Fatal(r, err)
	}
}

func TestADatabaseThatAnotherProcessHoldsIsAnErrorAndThenWorksAgain(t *testing.T) {
	s := newStore(t)
	other := open(t, Config{Dir: s.dir()})
	for _, db := range []*sql.DB{s.full, s.quick} {
		if _, err := db.Exec(`PRAGMA busy_timeout = 20`); err != nil {
			t.Fatal(err)
		}
	}
	attempt := func() []error {
		_, account := s.AddAccount(t.Context(), NewAccount{Number: "45675001"})
		binding := s.SaveBindings(t.Context(), []registrar.Change{{Kind: registrar.Added, Binding: binding(1)}})
		done := make(chan error)
		s.Save(record("01"), func(err error) { done <- err })
		return []error{account, binding, <-done, s.Healthy(t.Context())}
	}
	tx, err := other.full.Begin()
	if err != nil {
		t.Fatal(err)
	}
	for i, err := range attempt() {
		if i < 3 {
			wantError(t, err, "locked")
		} else if err != nil {
			t.Error("reading waits for a writer:", err)
		}
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(attempt()...); err != nil {
		t.Error(err)
	}
	if len(stored(t, s)) != 1 || len(openNow(t, s)) != 1 || numbers(t, s) == "" {
		t.Error("something is missing")
	}
}

func logTo(b *bytes.Buffer) *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }
