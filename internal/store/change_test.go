package store

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

func sequence(t testing.TB, s *Store) (seq int64) {
	t.Helper()
	if err := s.read.QueryRow(`SELECT value FROM counter WHERE name = 'change'`).Scan(&seq); err != nil {
		t.Fatal(err)
	}
	return seq
}

func TestFollowGivesEveryChangeOnceAndInOrder(t *testing.T) {
	s := newStore(t)
	others := []*Store{open(t, Config{Dir: s.dir()}), open(t, Config{Dir: s.dir()})}
	const each = 40
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	followed := make(chan Change, 1000)
	ended := make(chan error, 1)
	go func() {
		ended <- s.Follow(ctx, 0, func(changes []Change) {
			for _, c := range changes {
				followed <- c
			}
		})
	}()
	for i, o := range others {
		go func() {
			for n := range each {
				if _, err := o.AddAccount(ctx, NewAccount{Number: fmt.Sprint(10*(n+1) + i)}); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	seen := map[string]bool{}
	for want := int64(1); len(seen) < each*len(others); want++ {
		c := <-followed
		if c.Seq != want {
			t.Fatalf("change %d after %d", c.Seq, want-1)
		}
		if c.Kind == ChangedAccount {
			seen[c.Subject] = true
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestAFollowerThatIsBehindIsTold(t *testing.T) {
	s := newStore(t)
	for i := range 3 {
		if _, err := s.AddAccount(t.Context(), NewAccount{Number: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.pruneChanges(t.Context(), time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := s.pruneChanges(t.Context(), time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	for from, behind := range map[int64]bool{0: true, 2: true, 3: false, 4: true} {
		_, err := s.changesAfter(t.Context(), from)
		if errors.Is(err, ErrBehind) != behind {
			t.Errorf("from %d: %v", from, err)
		}
	}
	if err := s.Follow(t.Context(), 2, func([]Change) { t.Error("a change") }); !errors.Is(err, ErrBehind) {
		t.Error(err)
	}
	if _, err := s.AddAccount(t.Context(), NewAccount{Number: "4"}); err != nil {
		t.Fatal(err)
	}
	if changes, err := s.changesAfter(t.Context(), 3); err != nil || len(changes) != 1 || changes[0].Seq != 4 {
		t.Errorf("%v, %v", changes, err)
	}
}

func TestWhatIsRolledBackIsNoChange(t *testing.T) {
	s := newStore(t)
	for range 2 {
		s.AddAccount(t.Context(), NewAccount{Number: "123"})
	}
	if n := sequence(t, s); n != 1 {
		t.Errorf("%d changes", n)
	}
}

func TestRunTidiesUntilItsContextEnds(t *testing.T) {
	s := newStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx); err != nil {
		t.Error(err)
	}
	if _, err := s.full.Exec(`INSERT INTO call_end (id, made) VALUES ('01', 0)`); err != nil {
		t.Fatal(err)
	}
	s.tidy(t.Context(), time.Now())
	if ids, err := s.CallEnds(t.Context()); err != nil || len(ids) != 0 {
		t.Errorf("%v, %v", ids, err)
	}
}
