package store

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"liaison/internal/account"
	"liaison/internal/registrar"
	"liaison/internal/sip/transport"
)

var compareAddr = cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })

// stored reads all bindings by ID.
func stored(t testing.TB, s *Store) map[int64]registrar.Binding {
	t.Helper()
	all := map[int64]registrar.Binding{}
	err := s.Bindings(context.Background(), func(b *registrar.Binding) error {
		all[b.ID] = *b
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func at(seconds int) time.Time { return time.Unix(1_800_000_000+int64(seconds), 0).UTC() }

func binding(id int64) registrar.Binding {
	return registrar.Binding{
		ID: id, AOR: account.Number(fmt.Sprint(45670000 + id)), Contact: fmt.Sprintf("sip:%d@10.1.2.3:5062;ob", id),
		Instance: "<urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF>", RegID: 2, CallID: fmt.Sprintf("%x@10.1.2.3", id), CSeq: 7,
		Q: 700, Path: "<sip:a;lr>, <sip:b;lr>", UserAgent: "Codec 3000 v1.2",
		Flow: transport.Flow{Proto: transport.TCP, Local: netip.MustParseAddrPort("192.0.2.1:5060"),
			Remote: netip.MustParseAddrPort("[2001:db8::7%eth0]:40000"), Conn: 99},
		Since: at(0), Expires: at(300), Seen: at(1), Reach: registrar.Reachable,
	}
}

func save(t testing.TB, s *Store, changes ...registrar.Change) {
	t.Helper()
	if err := s.SaveBindings(context.Background(), changes); err != nil {
		t.Fatal(err)
	}
}

func TestABindingComesBackAsItWas(t *testing.T) {
	s := newStore(t)
	want := binding(1)
	bare := registrar.Binding{ID: -5, AOR: "1", Expires: at(10)}
	save(t, s, registrar.Change{Kind: registrar.Added, Binding: want}, registrar.Change{Kind: registrar.Added, Binding: bare})
	if diff := cmp.Diff(map[int64]registrar.Binding{1: want, -5: bare}, stored(t, s), compareAddr); diff != "" {
		t.Error(diff)
	}
	if err := s.foldBindings(t.Context(), time.Now(), at(0)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[int64]registrar.Binding{1: want, -5: bare}, stored(t, s), compareAddr); diff != "" {
		t.Error("folded:", diff)
	}
}

// model applies changes as registrar.Store says.
type model map[int64]registrar.Binding

func (m model) apply(c registrar.Change) {
	b, ok := m[c.Binding.ID]
	switch c.Kind {
	case registrar.Added:
		b, ok = c.Binding, true
	case registrar.Refreshed:
		b.Expires, b.CSeq = c.Binding.Expires, c.Binding.CSeq
	case registrar.Reached:
		b.Reach, b.Seen = c.Binding.Reach, c.Binding.Seen
	case registrar.Removed:
		delete(m, c.Binding.ID)
		return
	}
	if ok {
		m[c.Binding.ID] = b
	}
}

// live is what is not over at a time: the store may forget the rest, or not.
func (m model) live(now time.Time) model {
	l := model{}
	for id, b := range m {
		if !b.Expires.Before(now) {
			l[id] = b
		}
	}
	return l
}

func TestAnyHistoryComesBackWhereverItIsFolded(t *testing.T) {
	for seed := range uint64(6) {
		s := newStore(t)
		r := rand.New(rand.NewPCG(seed, 0))
		want := model{}
		now := 0
		var cuts []int64
		for range 150 {
			now += r.IntN(20)
			var group []registrar.Change
			for range 1 + r.IntN(5) {
				b := binding(int64(r.IntN(25)))
				b.Expires, b.Seen, b.CSeq = at(now+60+r.IntN(900)), at(now), r.Uint32()
				b.Reach = registrar.Reach(r.IntN(3))
				c := registrar.Change{Kind: registrar.ChangeKind(r.IntN(4)), Binding: b}
				// What has expired is not refreshed any more.
				if old, ok := want[b.ID]; c.Kind == registrar.Refreshed && ok && old.Expires.Before(at(now)) {
					c.Kind = registrar.Removed
				}
				group = append(group, c)
				want.apply(c)
			}
			save(t, s, group...)
			cuts = append(cuts, s.bindings.last)
			if r.IntN(10) == 0 {
				cut := time.UnixMicro(cuts[r.IntN(len(cuts))])
				if err := s.foldBindings(t.Context(), cut, at(now)); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(want.live(at(now)), model(stored(t, s)).live(at(now)), compareAddr); diff != "" {
				t.Fatalf("seed %d: %s", seed, diff)
			}
		}
		if err := s.foldBindings(t.Context(), time.Now(), at(now)); err != nil {
			t.Fatal(err)
		}
		var rows int
		if err := s.read.QueryRow(`SELECT COUNT(*) FROM binding_log`).Scan(&rows); err != nil || rows != 0 {
			t.Errorf("%d rows of the log are left, %v", rows, err)
		}
		// Two minutes after the last of them, nothing is left.
		if err := s.foldBindings(t.Context(), time.Now(), at(now+2000)); err != nil {
			t.Fatal(err)
		}
		if n := len(stored(t, s)); n != 0 {
			t.Errorf("%d bindings are left that are over", n)
		}
	}
}

func TestFoldingMayBeCutOffAnywhere(t *testing.T) {
	s := newStore(t)
	want := model{}
	for i := range int64(3 * foldAtOnce) {
		for _, c := range []registrar.Change{
			{Kind: registrar.Added, Binding: binding(i)},
			{Kind: registrar.Refreshed, Binding: registrar.Binding{ID: i, Expires: at(400), CSeq: 8}},
			{Kind: registrar.ChangeKind(2 + i%2), Binding: registrar.Binding{ID: i, Reach: registrar.Unreachable, Seen: at(9)}},
		} {
			save(t, s, c)
			want.apply(c)
		}
	}
	for part := 1; ; part++ {
		// A context that ends after so many transactions.
		ctx, cancel := context.WithCancel(t.Context())
		left := part
		s.folded = func() {
			if left--; left == 0 {
				cancel()
			}
		}
		err := s.foldBindings(ctx, time.Now(), at(0))
		if diff := cmp.Diff(map[int64]registrar.Binding(want), stored(t, s), compareAddr); diff != "" {
			t.Fatalf("after %d transactions: %s", part, diff)
		}
		cancel()
		if err == nil {
			break
		}
	}
}

// TestKilledMidstream is the child of the next test.
func TestKilledMidstream(t *testing.T) {
	dir := os.Getenv("LIAISON_TEST_KILLED")
	if dir == "" {
		t.Skip("runs only as the child of TestWhatWasSavedSurvivesKill9")
	}
	s, err := Open(context.Background(), Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	for i := int64(1); ; i++ {
		b := binding(i)
		save(t, s, registrar.Change{Kind: registrar.Added, Binding: b},
			registrar.Change{Kind: registrar.Refreshed, Binding: registrar.Binding{ID: i, Expires: at(1000), CSeq: 8}})
		done := make(chan error)
		r := record(fmt.Sprintf("%08d", i))
		s.Save(r, func(err error) { done <- err })
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		fmt.Printf("saved %d\n", i)
	}
}

func TestWhatWasSavedSurvivesKill9(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledMidstream$", "-test.v")
	cmd.Env = append(os.Environ(), "LIAISON_TEST_KILLED="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var last int64
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if n, _ := fmt.Sscanf(lines.Text(), "saved %d", &last); n == 1 && last == 30 {
			if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || last < 30 {
		t.Fatalf("the child ended by itself: %v, after %d", err, last)
	}
	s := open(t, Config{Dir: dir})
	all := stored(t, s)
	calls, err := s.OpenCalls(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := int64(1); i <= last; i++ {
		if b, ok := all[i]; !ok || b.CSeq != 8 || !b.Expires.Equal(at(1000)) {
			t.Errorf("binding %d was saved and is %+v, %v", i, b, ok)
		}
	}
	if len(calls) < int(last) {
		t.Errorf("%d calls were saved and %d are there", last, len(calls))
	}
}

func TestListingBindingsNeedsNoServer(t *testing.T) {
	s := newStore(t)
	save(t, s, registrar.Change{Kind: registrar.Added, Binding: binding(1)})
	if n := len(stored(t, open(t, Config{Dir: s.dir()}))); n != 1 {
		t.Errorf("another process sees %d bindings", n)
	}
}

func TestBindingNumbersRiseThoughTheClockIsSetBack(t *testing.T) {
	s := newStore(t)
	ahead := time.Now().Add(time.Hour).UnixMicro()
	if _, err := s.full.Exec(`INSERT INTO binding_log (seq, data) VALUES ($1, $2)`, ahead, []byte{}); err != nil {
		t.Fatal(err)
	}
	save(t, s, registrar.Change{Kind: registrar.Added, Binding: binding(1)})
	if s.bindings.last != ahead+1 {
		t.Errorf("number %d after %d", s.bindings.last, ahead)
	}
}

func FuzzPackedBindings(f *testing.F) {
	var l bindingLog
	for kind := registrar.Added; kind <= registrar.Removed; kind++ {
		l.pack(&registrar.Change{Kind: kind, Binding: binding(3)})
	}
	f.Add(l.buf)
	f.Add([]byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, data []byte) {
		u := unpacker{b: data}
		for n := 0; u.more(); n++ {
			c := u.change()
			var b registrar.Binding
			if u.err == nil && c.kind == packedAdded {
				unpackBinding(c.data, &b)
			}
			if n > len(data) {
				t.Fatal("it does not come to an end")
			}
		}
	})
}

func benchBindings(b *testing.B, group int, kind registrar.ChangeKind) {
	s := newStore(b)
	changes := make([]registrar.Change, group)
	for i := range changes {
		changes[i] = registrar.Change{Kind: kind, Binding: binding(int64(i))}
	}
	n := int64(0)
	start := cpuTime()
	for b.Loop() {
		for i := range changes {
			n++
			changes[i].Binding.ID = n % 100_000
		}
		if err := s.SaveBindings(context.Background(), changes); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpuTime()-start)/float64(n), "cpu-ns/change")
}

func cpuTime() int64 {
	var r syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return r.Utime.Nano() + r.Stime.Nano()
}

func BenchmarkBindings(b *testing.B) {
	for _, kind := range []registrar.ChangeKind{registrar.Refreshed, registrar.Added} {
		for _, group := range []int{1, 10, 100} {
			b.Run(fmt.Sprintf("%v/%d", kind, group), func(b *testing.B) { benchBindings(b, group, kind) })
		}
	}
}

func BenchmarkFold(b *testing.B) {
	s := newStore(b)
	const n = 20_000
	for b.Loop() {
		b.StopTimer()
		changes := make([]registrar.Change, 100)
		for id := int64(0); id < n; id += int64(len(changes)) {
			for i := range changes {
				changes[i] = registrar.Change{Kind: registrar.Added, Binding: binding(id + int64(i))}
			}
			save(b, s, changes...)
		}
		b.StartTimer()
		if err := s.foldBindings(b.Context(), time.Now(), at(0)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/binding")
}
