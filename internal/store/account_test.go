package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"liaison/internal/account"
	"liaison/internal/digest"
)

func itoa(n int) string { return strconv.Itoa(n) }

// directory loads a directory.
func directory(t testing.TB, s *Store) *account.Directory {
	t.Helper()
	d := account.NewDirectory()
	if _, err := s.LoadAccounts(context.Background(), d); err != nil {
		t.Fatal(err)
	}
	return d
}

func checkPassword(t testing.TB, s *Store, n account.Number, password string) {
	t.Helper()
	a, ok := directory(t, s).Account([]byte(n))
	if !ok {
		t.Fatalf("there is no account %s", n)
	}
	if a.Hashes != digest.Hash(string(n), s.Realm(), password) {
		t.Errorf("account %s has another password than %q", n, password)
	}
}

func numbers(t testing.TB, s *Store) string {
	t.Helper()
	list, err := s.Accounts(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, a := range list {
		fmt.Fprintf(&b, "%s %v %s\n", a.Number, a.Kind, a.SubscriberName)
	}
	return b.String()
}

func TestCreateSubscriber(t *testing.T) {
	s := newStore(t)
	sub, made, err := s.CreateSubscriber(t.Context(), NewSubscriber{Name: "Radio Lac", Email: "tech@lac.example", Prefix: "4567", Accounts: 2})
	if err != nil {
		t.Fatal(err)
	}
	if len(made) != 2 || made[0].Number != "45675001" || made[1].Number != "45675002" || made[0].Password == made[1].Password {
		t.Fatalf("made %v", made)
	}
	for _, c := range made {
		checkPassword(t, s, c.Number, c.Password)
	}
	for i, want := range []string{"2000", "2001"} {
		sub, _, err := s.CreateSubscriber(t.Context(), NewSubscriber{Name: "R" + itoa(i)})
		if err != nil || sub.Prefix != want {
			t.Fatalf("got prefix %q, %v, want %s", sub.Prefix, err, want)
		}
	}
	// A prefix that a number given by hand uses is not free.
	if _, err := s.AddAccount(t.Context(), NewAccount{Number: "20021", Kind: account.Test}); err != nil {
		t.Fatal(err)
	}
	next, _, err := s.CreateSubscriber(t.Context(), NewSubscriber{Name: "R3"})
	if err != nil || next.Prefix != "2003" {
		t.Fatalf("got prefix %q, %v", next.Prefix, err)
	}
	for _, row := range []struct {
		n    NewSubscriber
		want string
	}{
		{NewSubscriber{Name: "Other", Prefix: "4567"}, "belongs to Radio Lac"},
		{NewSubscriber{Name: "Other", Prefix: "1500"}, "factory range"},
		{NewSubscriber{Name: "Other", Prefix: "45"}, "not four digits"},
		{NewSubscriber{Name: " "}, "name of the subscriber is empty"},
		{NewSubscriber{Name: "a\nb"}, "control character"},
		{NewSubscriber{Name: "Other", Email: "nonsense"}, "not an e-mail address"},
		{NewSubscriber{Name: "Other", Email: "A <a@b.example>"}, "not an e-mail address"},
		{NewSubscriber{Name: "Big", Prefix: "5000", Accounts: 1000}, "50005001 to 50005999"},
	} {
		_, _, err := s.CreateSubscriber(t.Context(), row.n)
		wantError(t, err, row.want)
	}
	list, err := s.Subscribers(t.Context())
	if err != nil || len(list) != 4 || list[0].Subscriber != sub || list[0].Accounts != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	for _, ref := range []string{"4567", itoa(int(sub.ID)), "Radio Lac"} {
		if found, err := s.Subscriber(t.Context(), ref); err != nil || found != sub {
			t.Errorf("%s: %+v, %v", ref, found, err)
		}
	}
	_, err = s.Subscriber(t.Context(), "Radio Nowhere")
	if wantError(t, err, "Radio Nowhere"); !errors.Is(err, ErrNotFound) {
		t.Error("not ErrNotFound")
	}
}

func TestAddAccount(t *testing.T) {
	s := newStore(t)
	if _, _, err := s.CreateSubscriber(t.Context(), NewSubscriber{Name: "Radio Lac", Prefix: "4567", Accounts: 2}); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name string
		n    NewAccount
		want string // number, kind and subscriber
		err  string
	}{
		{"a number of the group's prefix is the group's", NewAccount{Number: "45675004"}, "45675004 premium Radio Lac", ""},
		{"the sequence goes on behind the last number sold", NewAccount{Subscriber: "4567"}, "45675005 premium Radio Lac", ""},
		{"hunt members have their own sequence", NewAccount{Subscriber: "Radio Lac", Kind: account.Hunt}, "45676001 hunt Radio Lac", ""},
		{"mobiles share that of premium accounts", NewAccount{Subscriber: "4567", Kind: account.Mobile}, "45675006 mobile Radio Lac", ""},
		{"a new prefix makes its subscriber", NewAccount{Number: "99995001"}, "99995001 premium 9999", ""},
		{"a short number belongs to nobody", NewAccount{Number: "123"}, "123 premium ", ""},
		{"or to whom it is given", NewAccount{Number: "124", Subscriber: "4567"}, "124 premium Radio Lac", ""},
		{"a test number belongs to nobody", NewAccount{Number: "15007", Kind: account.Test}, "15007 test ", ""},
		{"a factory number too", NewAccount{Number: "45670000", Kind: account.Factory}, "45670000 factory ", ""},
		{"a number is given once", NewAccount{Number: "45675001"}, "", "the account 45675001 is there already"},
		{"it has digits", NewAccount{Number: "4567x"}, "", "digits"},
		{"its subscriber must exist", NewAccount{Number: "45675050", Subscriber: "Radio Nowhere"}, "", "Radio Nowhere"},
		{"without a number the subscriber is needed", NewAccount{}, "", "neither a number nor a subscriber"},
		{"a test number is not allocated", NewAccount{Subscriber: "4567", Kind: account.Test}, "", "give the number"},
		{"a password has no line end", NewAccount{Number: "45675051", Password: "a\r\nb"}, "", "control character"},
	} {
		c, err := s.AddAccount(t.Context(), row.n)
		if row.err != "" {
			wantError(t, err, row.err)
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		if !strings.Contains("\n"+numbers(t, s), "\n"+row.want+"\n") {
			t.Errorf("%s: %q is not in\n%s", row.name, row.want, numbers(t, s))
		}
		checkPassword(t, s, c.Number, c.Password)
	}
}

func TestWhatIsDoneWithAnAccountReachesARunningDirectory(t *testing.T) {
	s := newStore(t)
	other := open(t, Config{Dir: s.dir()}) // the command line
	d := account.NewDirectory()
	seq, err := s.LoadAccounts(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	applied := make(chan []Change, 100)
	ended := make(chan error)
	go func() {
		ended <- s.Follow(ctx, seq, func(c []Change) {
			if err := s.ApplyAccounts(ctx, d, c); err != nil {
				t.Error(err)
			}
			applied <- c
		})
	}()
	step := func(what string, do func() error, check func(a *account.Account, ok bool) bool) {
		t.Helper()
		if err := do(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		<-applied
		if a, ok := d.Account([]byte("45675001")); !check(a, ok) {
			t.Errorf("%s: %+v, %v", what, a, ok)
		}
	}
	step("added", func() error {
		_, _, err := other.CreateSubscriber(ctx, NewSubscriber{Name: "Radio Lac", Prefix: "4567", Accounts: 2})
		return err
	}, func(a *account.Account, ok bool) bool { return ok && a.Subscriber == 1 && a.Kind == account.Premium })
	if a, ok := d.Account([]byte("45675001")); !ok {
		t.Fatal("not there")
	} else if n, ok := d.Dial(a, []byte("5002")); !ok || n != "45675002" {
		t.Errorf("5002 is %q", n)
	}
	step("locked", func() error { return other.SetLocked(ctx, "45675001", true) },
		func(a *account.Account, ok bool) bool { return ok && a.Locked })
	step("unlocked", func() error { return other.SetLocked(ctx, "45675001", false) },
		func(a *account.Account, ok bool) bool { return ok && !a.Locked })
	var password string
	step("new password", func() (err error) { password, err = other.SetPassword(ctx, "45675001", ""); return err },
		func(a *account.Account, ok bool) bool {
			return ok && a.Hashes == digest.Hash("45675001", "liaison", password)
		})
	step("removed", func() error { return other.RemoveAccount(ctx, "45675001") },
		func(a *account.Account, ok bool) bool { return !ok })

	var csv strings.Builder
	csv.WriteString("number,password\n")
	for i := range manyAccounts + 1 {
		fmt.Fprintf(&csv, "4567%d,x\n", 5001+i)
	}
	step("imported in bulk", func() error {
		_, err := other.ImportAccounts(ctx, strings.NewReader(csv.String()), ImportOptions{Update: true})
		return err
	}, func(a *account.Account, ok bool) bool { return ok && d.Len() == manyAccounts+1 })

	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for _, f := range []func() error{
		func() error { return other.SetLocked(t.Context(), "1", true) },
		func() error { return other.RemoveAccount(t.Context(), "1") },
		func() error { _, err := other.SetPassword(t.Context(), "1", ""); return err },
		func() error { _, err := other.Account(t.Context(), "1"); return err },
	} {
		err := f()
		if wantError(t, err, `there is no account "1"`); !errors.Is(err, ErrNotFound) {
			t.Error("not ErrNotFound")
		}
	}
}

func TestTestNumbersAreSwitched(t *testing.T) {
	s := newStore(t)
	if err := s.SetTest(t.Context(), "15000", false); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.EnsureTest(t.Context(), "15000"); err != nil {
			t.Fatal(err)
		}
	}
	for _, on := range []bool{false, true} {
		if err := s.SetTest(t.Context(), "15000", on); err != nil {
			t.Fatal(err)
		}
		if a, err := s.Account(t.Context(), "15000"); err != nil || a.Off == on || a.Kind != account.Test {
			t.Fatal(a, err)
		}
		if a, _ := directory(t, s).Account([]byte("15000")); a.Off == on {
			t.Error("the directory says otherwise")
		}
	}
	if _, err := s.AddAccount(t.Context(), NewAccount{Number: "45675001"}); err != nil {
		t.Fatal(err)
	}
	wantError(t, s.SetTest(t.Context(), "45675001", false), "premium account", "account lock")
	wantError(t, s.EnsureTest(t.Context(), "45675001"), "premium account")
}

func TestValidityIsKept(t *testing.T) {
	s := newStore(t)
	from, until := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	if _, err := s.AddAccount(t.Context(), NewAccount{Number: "45675001", ValidFrom: from, ValidUntil: until}); err != nil {
		t.Fatal(err)
	}
	a, _ := directory(t, s).Account([]byte("45675001"))
	if !a.ValidFrom.Equal(from) || !a.ValidUntil.Equal(until) {
		t.Errorf("%v to %v", a.ValidFrom, a.ValidUntil)
	}
}

func TestHashesAreBoundToTheirNumber(t *testing.T) {
	s := newStore(t)
	for _, n := range []string{"45675001", "45675002"} {
		if _, err := s.AddAccount(t.Context(), NewAccount{Number: n, Password: "secret"}); err != nil {
			t.Fatal(err)
		}
	}
	// Whoever can write to the database must not be able to give one account the password of another.
	if _, err := s.full.Exec(`UPDATE account SET hashes = (SELECT hashes FROM account WHERE number = '45675001') WHERE number = '45675002'`); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	s.log = logTo(&log)
	d := directory(t, s)
	if a, _ := d.Account([]byte("45675002")); a.Hashes == digest.Hash("45675001", "liaison", "secret") || a.Hashes == (digest.Hashes{}) {
		t.Error("the hashes opened under another number")
	}
	if !strings.Contains(log.String(), "account password 45675002") {
		t.Errorf("log: %s", &log)
	}
	checkPassword(t, s, "45675001", "secret")

	var raw []byte
	if err := s.full.QueryRow(`SELECT hashes FROM account WHERE number = '45675001'`).Scan(&raw); err != nil {
		t.Fatal(err)
	}
	h := digest.Hash("45675001", "liaison", "secret")
	if bytes.Contains(raw, h.MD5[:]) || bytes.Contains(raw, h.SHA256[:]) {
		t.Error("the hashes are readable in the database")
	}
}
