package account

import (
	"hash/maphash"
	"math/bits"
	"strings"
	"sync"
	"sync/atomic"
)

// Directory holds all accounts in memory. Any number of goroutines may read while one changes it; a reader takes no
// lock, waits for nobody and allocates nothing.
//
// It is one table of pointers with open addressing: 100,000 accounts cost about 16 MB, where a map of strings to
// structs doubles that and copies while it grows.
type Directory struct {
	seed     maphash.Seed
	table    atomic.Pointer[table]
	prefixes atomic.Pointer[map[int64]string] // by subscriber; a change is a new map

	mu   sync.Mutex // held by who changes something
	live int        // accounts
	used int        // slots with an account or a grave: at most three quarters of the table
}

type table []atomic.Pointer[Account]

// grave stands where an account was removed, so that a search goes on to what was put behind it.
var grave = new(Account)

const minTable = 64

// NewDirectory makes an empty directory.
func NewDirectory() *Directory {
	d := &Directory{seed: maphash.MakeSeed()}
	d.table.Store(newTable(0))
	d.prefixes.Store(new(map[int64]string))
	return d
}

// newTable makes a table for n accounts and half as many again.
func newTable(n int) *table {
	size := minTable
	if need := n + n/2; need > size {
		size = 1 << bits.Len(uint(need-1))
	}
	t := make(table, size)
	return &t
}

// Account finds the account of a number.
func (d *Directory) Account(n []byte) (*Account, bool) {
	t := *d.table.Load()
	for i := maphash.Bytes(d.seed, n); ; i++ {
		a := t[i&uint64(len(t)-1)].Load()
		if a == nil {
			return nil, false
		}
		if a != grave && string(a.Number) == string(n) {
			return a, true
		}
	}
}

// Len is the number of accounts.
func (d *Directory) Len() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.live
}

// Set puts accounts in, each in the place of one with the same number.
func (d *Directory) Set(accounts ...Account) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range accounts {
		// A string that was cut from something larger would keep all of it.
		a.Number = Number(strings.Clone(string(a.Number)))
		d.setLocked(&a)
	}
}

// Remove takes numbers out; those that are not there do no harm.
func (d *Directory) Remove(numbers ...Number) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := *d.table.Load()
	for _, n := range numbers {
		for i := maphash.String(d.seed, string(n)); ; i++ {
			slot := &t[i&uint64(len(t)-1)]
			a := slot.Load()
			if a == nil {
				break
			}
			if a != grave && a.Number == n {
				slot.Store(grave)
				d.live--
				break
			}
		}
	}
}

// Replace makes these the only accounts. Readers see all of the old ones until they see all of the new ones.
func (d *Directory) Replace(accounts []Account) {
	// Two blocks for everything: an allocation each would cost a fifth more and keep the collector busy.
	var text strings.Builder
	for i := range accounts {
		text.WriteString(string(accounts[i].Number))
	}
	numbers := text.String()
	block := make([]Account, len(accounts))
	copy(block, accounts)

	d.mu.Lock()
	defer d.mu.Unlock()
	t := newTable(len(block))
	d.live, d.used = 0, 0
	for i := range block {
		n := len(block[i].Number)
		block[i].Number, numbers = Number(numbers[:n]), numbers[n:]
		d.put(*t, &block[i])
	}
	d.table.Store(t)
}

func (d *Directory) setLocked(a *Account) {
	t := *d.table.Load()
	// Without room the search for a number that is not there would have no end.
	if (d.used+1)*4 > len(t)*3 {
		grown := newTable(d.live + 1)
		d.live, d.used = 0, 0
		for i := range t {
			if old := t[i].Load(); old != nil && old != grave {
				d.put(*grown, old)
			}
		}
		d.table.Store(grown)
		t = *grown
	}
	d.put(t, a)
}

// put needs a table with room.
func (d *Directory) put(t table, a *Account) {
	for i := maphash.String(d.seed, string(a.Number)); ; i++ {
		slot := &t[i&uint64(len(t)-1)]
		old := slot.Load()
		switch {
		case old == nil:
			d.live++
			d.used++
		case old == grave || old.Number != a.Number:
			continue
		}
		slot.Store(a)
		return
	}
}
