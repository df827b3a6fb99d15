package store

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"liaison/internal/call"
)

func record(id string) call.Record {
	return call.Record{
		ID: id, CallID: id + "@10.1.2.3", Caller: "45675001", Dialled: "5002", Callee: "45675002",
		Started: at(0), Answered: at(3), Status: 200, CallerAgent: "Codec 3000", CalleeAgent: "Phone",
		CallerAddr: netip.MustParseAddrPort("10.1.2.3:5062"), CalleeAddr: netip.MustParseAddrPort("[2001:db8::7]:40000"),
		Offered: "PCMA/8000/1,G722/8000/1", Agreed: "G722/8000/1", CallerSubscriber: 1, CalleeSubscriber: 2,
		Dialog: []byte(`{"caller":{}}`),
	}
}

func ended(r call.Record, at time.Time) call.Record {
	r.Ended, r.Cause, r.EndedBy, r.Dialog = at, "hung up", call.ByCaller, nil
	return r
}

// saveCalls saves at the same time and waits for all.
func saveCalls(t testing.TB, s *Store, records ...call.Record) {
	t.Helper()
	var wg sync.WaitGroup
	for _, r := range records {
		wg.Add(1)
		s.Save(r, func(err error) {
			if err != nil {
				t.Error(err)
			}
			wg.Done()
		})
	}
	wg.Wait()
}

func records(t testing.TB, s *Store, limit int) []call.Record {
	t.Helper()
	list, err := s.Records(context.Background(), limit)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func openNow(t testing.TB, s *Store) []call.Record {
	t.Helper()
	list, err := s.OpenCalls(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestARecordComesBackAsItWas(t *testing.T) {
	s := newStore(t)
	up, other := record("01"), record("02")
	over := ended(record("03"), at(60))
	missed := call.Record{ID: "04", CallID: "x", Caller: "45675001", Dialled: "99", Started: at(5), Ended: at(5), Status: 404, Cause: "no such number", EndedBy: call.ByService}
	saveCalls(t, s, up, over, missed, other)
	if diff := cmp.Diff([]call.Record{up, other, over, missed}, records(t, s, 0), compareAddr); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]call.Record{over, missed}, records(t, s, 2), compareAddr); diff != "" {
		t.Error("the newest two:", diff)
	}
	if diff := cmp.Diff([]call.Record{up, other}, openNow(t, s), compareAddr); diff != "" {
		t.Error("open:", diff)
	}
	saveCalls(t, s, ended(up, at(70)))
	if diff := cmp.Diff([]call.Record{other}, openNow(t, s), compareAddr); diff != "" {
		t.Error("open after one ended:", diff)
	}
	if diff := cmp.Diff([]call.Record{ended(up, at(70)), other, over, missed}, records(t, s, 0), compareAddr); diff != "" {
		t.Error(diff)
	}
}

func TestOfManyStatesOfACallTheLastCounts(t *testing.T) {
	s := newStore(t)
	// In one group.
	first := record("01")
	moved := first
	moved.Agreed, moved.Dialog = "PCMA/8000/1", []byte("moved")
	saveCalls(t, s, first, moved)
	if diff := cmp.Diff([]call.Record{moved}, openNow(t, s), compareAddr); diff != "" {
		t.Error(diff)
	}
	// In several.
	for i := range 5 {
		moved.Dialog = []byte(fmt.Sprint(i))
		saveCalls(t, s, moved)
	}
	if diff := cmp.Diff([]call.Record{moved}, openNow(t, s), compareAddr); diff != "" {
		t.Error(diff)
	}
	if n := openRows(t, s); n != 1 {
		t.Errorf("%d rows are kept for one call", n)
	}
	saveCalls(t, s, moved, ended(moved, at(9)))
	if n := openRows(t, s); n != 0 || len(openNow(t, s)) != 0 {
		t.Errorf("%d rows are kept for no call", n)
	}
}

func openRows(t testing.TB, s *Store) (n int) {
	t.Helper()
	if err := s.read.QueryRow(`SELECT COUNT(*) FROM call_open`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestOpenCallsOutliveARestart(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(t.Context(), Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	saveCalls(t, s, record("01"), record("02"), record("03"))
	s.Save(ended(record("02"), at(9)), func(error) {}) // Close waits for it
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, Config{Dir: dir})
	if list := openNow(t, s); len(list) != 2 || list[0].ID != "01" || list[1].ID != "03" {
		t.Fatalf("%+v", list)
	}
	saveCalls(t, s, ended(record("01"), at(9)))
	if n := openRows(t, s); n != 1 {
		t.Errorf("%d rows, though a call of them is up", n)
	}
	saveCalls(t, s, ended(record("03"), at(9)))
	if n := openRows(t, s); n != 0 {
		t.Errorf("%d rows, though no call is up", n)
	}
}

func TestSavingAfterCloseFails(t *testing.T) {
	s, err := Open(t.Context(), Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	done := make(chan error)
	s.Save(record("01"), func(err error) { done <- err })
	if err := <-done; err == nil {
		t.Error("no error")
	}
}

func TestARecordThatCannotBeWrittenSaysSo(t *testing.T) {
	s := newStore(t)
	if _, err := s.full.Exec(`DROP TABLE call`); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	s.Save(ended(record("01"), at(1)), func(err error) { done <- err })
	wantError(t, <-done, "records")
}

func TestAnOperatorEndsACall(t *testing.T) {
	s := newStore(t)
	saveCalls(t, s, record("01"), ended(record("02"), at(60)))
	from := sequence(t, s)
	cli := open(t, Config{Dir: s.dir()})
	if err := cli.EndCall(t.Context(), "01"); err != nil {
		t.Fatal(err)
	}
	changes, err := s.changesAfter(t.Context(), from)
	if err != nil || len(changes) != 1 || changes[0].Kind != RequestedCallEnd || changes[0].Subject != "01" {
		t.Errorf("%+v, %v", changes, err)
	}
	if ids, err := s.CallEnds(t.Context()); err != nil || len(ids) != 1 || ids[0] != "01" {
		t.Errorf("%v, %v", ids, err)
	}
	wantError(t, cli.EndCall(t.Context(), "02"), "has ended already", at(60).Format(time.RFC3339))
	err = cli.EndCall(t.Context(), "03")
	if wantError(t, err, `no call "03"`, "call list"); !errors.Is(err, ErrNotFound) {
		t.Error("not ErrNotFound")
	}
}

func FuzzPackedRecords(f *testing.F) {
	r := record("01")
	f.Add(packRecord(packRecord(nil, &call.Record{}), &r))
	f.Fuzz(func(t *testing.T, data []byte) {
		u := unpacker{b: data}
		for u.more() {
			r := u.record()
			if u.err != nil {
				return
			}
			again := unpacker{b: packRecord(nil, &r)}
			if back := again.record(); again.err != nil || !cmp.Equal(r, back, compareAddr) {
				t.Fatalf("%+v comes back as %+v, %v", r, back, again.err)
			}
		}
	})
}

// BenchmarkCalls is the cost of a call in processor time: its answer and its end, in groups.
func BenchmarkCalls(b *testing.B) {
	for _, group := range []int{1, 10, 100} {
		b.Run(fmt.Sprint(group), func(b *testing.B) {
			s := newStore(b)
			n := 0
			var up, over []saving
			start := cpuTime()
			for b.Loop() {
				up, over = up[:0], over[:0]
				for range group {
					n++
					r := record(fmt.Sprintf("%024d", n))
					r.Dialog = make([]byte, 700)
					up = append(up, saving{r, nil})
					over = append(over, saving{ended(r, at(9)), nil})
				}
				if err := errors.Join(s.saveCalls(up), s.saveCalls(over)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(cpuTime()-start)/float64(n), "cpu-ns/call")
		})
	}
}
