package account

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
)

func number(i int) Number { return Number(fmt.Sprintf("%04d%04d", 2000+i/9000, i%9000)) }

func TestDirectoryAgreesWithAMap(t *testing.T) {
	d, want := NewDirectory(), map[Number]int64{}
	r := rand.New(rand.NewPCG(1, 2))
	for step := range 50_000 {
		n := number(r.IntN(3000))
		switch r.IntN(3) {
		case 0:
			d.Remove(n)
			delete(want, n)
		default:
			d.Set(Account{Number: n, Subscriber: int64(step)})
			want[n] = int64(step)
		}
		if n := number(r.IntN(3000)); step%3 == 0 {
			a, ok := d.Account([]byte(n))
			s, wanted := want[n]
			if ok != wanted || ok && (a.Subscriber != s || a.Number != n) {
				t.Fatalf("step %d: %s is %v %v, want %v %v", step, n, a, ok, s, wanted)
			}
		}
	}
	if d.Len() != len(want) {
		t.Fatalf("%d accounts, want %d", d.Len(), len(want))
	}
	d.Replace([]Account{{Number: "7"}, {Number: "8"}, {Number: "8", Locked: true}})
	if a, ok := d.Account([]byte("8")); !ok || !a.Locked || d.Len() != 2 {
		t.Fatalf("after Replace: %v %v, %d accounts", a, ok, d.Len())
	}
	if _, ok := d.Account([]byte(number(1))); ok {
		t.Fatal("an account survived Replace")
	}
}

func TestReadersSeeWholeAccountsWhileTheyChange(t *testing.T) {
	d := NewDirectory()
	d.Set(Account{Number: "45675001"})
	var wg sync.WaitGroup
	done := make(chan struct{})
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				a, ok := d.Account([]byte("45675001"))
				if !ok || a.Locked != (a.Subscriber%2 == 1) {
					t.Error("a reader saw half a change", a, ok)
					return
				}
			}
		})
	}
	for i := range int64(3000) {
		d.Set(Account{Number: "45675001", Subscriber: i, Locked: i%2 == 1})
		d.Set(Account{Number: number(int(i))})
		d.Remove(number(int(i / 2)))
		if i%500 == 0 {
			d.Replace([]Account{{Number: "45675001"}})
		}
	}
	close(done)
	wg.Wait()
}

func TestDirectoryIsSmallAndLookupsAllocateNothing(t *testing.T) {
	const n = 100_000
	accounts := make([]Account, n)
	for i := range accounts {
		accounts[i] = Account{Number: number(i), Subscriber: int64(i / 10)}
	}
	d := NewDirectory()
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	d.Replace(accounts)
	bytes := int64(heap()) - int64(before)
	runtime.KeepAlive(accounts)
	t.Logf("%d accounts cost %d bytes each", n, bytes/n)
	if bytes > 20_000_000 {
		t.Errorf("%d accounts cost %d bytes", n, bytes)
	}
	dialled, caller := []byte("5002"), accounts[1]
	if a := testing.AllocsPerRun(100, func() {
		d.Account(dialled)
		d.Dial(&caller, dialled)
	}); a != 0 {
		t.Errorf("a lookup allocates %v times", a)
	}
}

func TestDial(t *testing.T) {
	d := NewDirectory()
	d.Set(
		Account{Number: "45675001", Subscriber: 1},
		Account{Number: "45675002", Subscriber: 1, Kind: Mobile},
		Account{Number: "45676001", Subscriber: 1, Kind: Hunt},
		Account{Number: "45675412", Subscriber: 1},
		Account{Number: "45995002", Subscriber: 2},
		Account{Number: "45995005", Subscriber: 2},
		Account{Number: "45675099", Subscriber: 2},
		Account{Number: "15000", Kind: Test},
		Account{Number: "5003", Kind: Test},
		Account{Number: "5002", Kind: Test},
		Account{Number: "10000001", Kind: Factory},
		Account{Number: "10005002", Kind: Factory},
		Account{Number: "4567001", Subscriber: 1},
		Account{Number: "456700120001", Subscriber: 1},
		Account{Number: "456700120002", Subscriber: 1},
		Account{Number: "123", Subscriber: 1},
	)
	d.SetPrefixes(map[int64]string{1: "4567", 2: "4599"})
	for _, row := range []struct {
		name, caller, dialled string
		want                  Number
	}{
		{"a whole number is that number", "45675001", "45995002", "45995002"},
		{"four digits reach the caller's group", "45675412", "5002", "45675002"},
		{"the same four digits reach another group from there", "45995005", "5002", "45995002"},
		{"they reach hunt members", "45675001", "6001", "45676001"},
		{"a test number is dialled as it is", "45675001", "15000", "15000"},
		{"four digits that the group lacks are a number as it stands", "45675001", "5003", "5003"},
		{"what nobody has is nothing", "45675001", "5004", ""},
		{"a number under the prefix that is another subscriber's is not the group's", "45675001", "5099", ""},
		{"factory accounts have no abbreviated dialling", "10000001", "5002", "5002"},
		{"short numbers overlap with the prefix", "45675001", "7001", "4567001"},
		{"long numbers reach those of their length", "456700120001", "0002", "456700120002"},
		{"a number without the prefix is in the group of its subscriber", "123", "5412", "45675412"},
		{"letters are no number", "45675001", "abcd", ""},
		{"nothing is no number", "45675001", "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			caller, ok := d.Account([]byte(row.caller))
			if !ok {
				t.Fatal("no such caller")
			}
			if n, ok := d.Dial(caller, []byte(row.dialled)); n != row.want || ok != (row.want != "") {
				t.Errorf("%q %v, want %q", n, ok, row.want)
			}
		})
	}
}

func BenchmarkAccount(b *testing.B) {
	accounts := make([]Account, 100_000)
	for i := range accounts {
		accounts[i] = Account{Number: number(i)}
	}
	d := NewDirectory()
	d.Replace(accounts)
	n := []byte(number(77_777))
	for b.Loop() {
		d.Account(n)
	}
}
