package digest

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestNonceCheck(t *testing.T) {
	n := NewNonces(start, time.Hour)
	at := start.Add(10 * time.Minute)
	nonce := string(n.Append(nil, at))
	if len(nonce) != NonceLen {
		t.Fatalf("%q has %d bytes", nonce, len(nonce))
	}
	flip := func(i int) string {
		b := []byte(nonce)
		if b[i] == 'A' {
			b[i] = 'B'
		} else {
			b[i] = 'A'
		}
		return string(b)
	}
	for _, row := range []struct {
		name  string
		nonce string
		now   time.Time
		want  Verdict
	}{
		{"at once", nonce, at, Fresh},
		{"at the next registration", nonce, at.Add(5 * time.Minute), Fresh},
		{"in the last second of its life", nonce, at.Add(time.Hour - time.Second), Fresh},
		{"at the end of its life", nonce, at.Add(time.Hour), Stale},
		{"a week later", nonce, at.Add(7 * 24 * time.Hour), Stale},
		{"judged a moment before it was made", nonce, at.Add(-time.Second), Fresh},
		{"from another node or before a restart", string(NewNonces(start, time.Hour).Append(nil, at)), at, Stale},
		{"made younger", flip(0), at, Forged},
		{"another serial", flip(8), at, Forged},
		{"another MAC", flip(20), at, Forged},
		{"the last character altered", flip(NonceLen - 1), at, Forged},
		{"another origin, which could be another node's", flip(14), at, Stale},
		{"cut short", nonce[:NonceLen-1], at, Forged},
		{"with something after it", nonce + "A", at, Forged},
		{"with a line end in it", nonce[:20] + "\n" + nonce[21:], at, Forged},
		{"not base64url", strings.Repeat("+", NonceLen), at, Forged},
		{"of another service", "f84f1cec41e6cbe5aea9c8e88d359", at, Forged},
		{"empty", "", at, Forged},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := n.Check([]byte(row.nonce), row.now); got != row.want {
				t.Errorf("%v, want %v", got, row.want)
			}
		})
	}
}

func TestNoncesAreAllDifferent(t *testing.T) {
	n := NewNonces(start, 0)
	var (
		mu   sync.Mutex
		seen = map[string]bool{}
		wg   sync.WaitGroup
	)
	for range 4 {
		wg.Go(func() {
			for range 1000 {
				s := string(n.Append(nil, start))
				mu.Lock()
				if seen[s] {
					t.Errorf("%s twice", s)
				}
				seen[s] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

func TestMACIsHMAC(t *testing.T) {
	n := NewNonces(start, 0)
	key := [32]byte{1, 2, 3, 31: 9}
	n.inner, n.outer = [64]byte{}, [64]byte{}
	n.setKey(key)
	head := []byte("fourteen bytes")
	h := hmac.New(sha256.New, key[:])
	h.Write(head)
	if got := n.mac(head); !bytes.Equal(got[:], h.Sum(nil)[:16]) {
		t.Errorf("%x, want %x", got, h.Sum(nil)[:16])
	}
}

func TestNonceDoesNotAllocate(t *testing.T) {
	n := NewNonces(start, 0)
	buf := make([]byte, 0, NonceLen)
	if a := testing.AllocsPerRun(100, func() {
		if n.Check(n.Append(buf, start), start) != Fresh {
			t.Fatal("refused")
		}
	}); a != 0 {
		t.Errorf("%v allocations", a)
	}
}

func TestUsesAccept(t *testing.T) {
	type step struct {
		nonce int // which
		nc    uint32
		qop   bool
		want  bool
	}
	for _, row := range []struct {
		name  string
		steps []step
	}{
		{"each count once", []step{{0, 1, true, true}, {0, 2, true, true}, {0, 2, true, false}, {0, 1, true, false}, {0, 3, true, true}}},
		{"a count that was overtaken", []step{{0, 3, true, true}, {0, 1, true, true}, {0, 2, true, true}, {0, 1, true, false}, {0, 2, true, false}}},
		{"the last count of the window", []step{{0, 64, true, true}, {0, 1, true, true}, {0, 1, true, false}}},
		{"a count before the window", []step{{0, 65, true, true}, {0, 1, true, false}, {0, 2, true, true}}},
		{"the window moves on and forgets no use", []step{{0, 1, true, true}, {0, 63, true, true}, {0, 64, true, true}, {0, 1, true, false}, {0, 2, true, true}}},
		{"a leap past the whole window", []step{{0, 1, true, true}, {0, 1000, true, true}, {0, 999, true, true}, {0, 1000, true, false}, {0, 1, true, false}}},
		{"a leap of exactly the window", []step{{0, 1, true, true}, {0, 65, true, true}, {0, 64, true, true}, {0, 1, true, false}}},
		{"the last count of all, and no wrap to the first", []step{{0, 0xffffffff, true, true}, {0, 0xffffffff, true, false}, {0, 0xfffffffe, true, true}, {0, 1, true, false}, {0, 0, true, false}}},
		{"a count of zero", []step{{0, 0, true, false}, {0, 1, true, true}, {0, 0, true, false}}},
		{"each nonce has its own counts", []step{{0, 1, true, true}, {1, 1, true, true}, {0, 1, true, false}, {1, 2, true, true}}},
		{"an older nonce used after a younger one", []step{{2, 1, true, true}, {0, 1, true, true}, {1, 1, true, true}, {2, 1, true, false}, {0, 1, true, false}, {1, 1, true, false}}},
		{"without qop a nonce serves once", []step{{0, 0, false, true}, {0, 0, false, false}}},
		{"a count without qop means nothing", []step{{0, 1, false, true}, {0, 2, false, false}}},
		{"with qop after the form without", []step{{0, 0, false, true}, {0, 1, true, false}, {0, 0xffffffff, true, false}}},
		{"downgrade: without qop after the form with it", []step{{0, 1, true, true}, {0, 2, false, false}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			n := NewNonces(start, time.Hour)
			u := n.NewUses(0)
			var nonces [3][]byte
			for i := range nonces {
				nonces[i] = n.Append(nil, start)
			}
			for i, s := range row.steps {
				if got := u.Accept(nonces[s.nonce], s.nc, s.qop, start); got != s.want {
					t.Fatalf("step %d, nonce %d count %d: %v", i, s.nonce, s.nc, got)
				}
			}
		})
	}
}

func TestUsesRefuseWhatIsNoNonce(t *testing.T) {
	u := NewNonces(start, 0).NewUses(0)
	for _, nonce := range []string{"", "n", strings.Repeat("=", NonceLen)} {
		if u.Accept([]byte(nonce), 1, true, start) {
			t.Errorf("%q accepted", nonce)
		}
	}
}

// Full, the oldest nonces go. They are refused ever after: forgetting one must
// not make its counts good again.
func TestUsesForgetTheOldest(t *testing.T) {
	n := NewNonces(start, time.Hour)
	u := n.NewUses(32)
	var all [][]byte
	for i := range 1000 {
		now := start.Add(time.Duration(i) * time.Second)
		nonce := n.Append(nil, now)
		if !u.Accept(nonce, 1, true, now) {
			t.Fatalf("new nonce %d refused", i)
		}
		if !u.Accept(nonce, 2, true, now) {
			t.Fatalf("nonce %d refused when used again at once", i)
		}
		all = append(all, nonce)
	}
	if len(u.used) > 32 || cap(u.used) > 64 {
		t.Errorf("%d kept in %d", len(u.used), cap(u.used))
	}
	now := start.Add(1000 * time.Second)
	for i, nonce := range all {
		if u.Accept(nonce, 1, true, now) || u.Accept(nonce, 2, true, now) {
			t.Errorf("nonce %d: a count was accepted twice", i)
		}
	}
	if !u.Accept(all[999], 3, true, now) || u.Accept(all[0], 3, true, now) {
		t.Error("the youngest is refused or the oldest accepted")
	}
}

// A nonce that was made long ago and is used for the first time when the memory
// is full of younger ones.
func TestUsesRefuseALateNonceWhenFull(t *testing.T) {
	n := NewNonces(start, time.Hour)
	u := n.NewUses(16)
	late := n.Append(nil, start)
	for range 16 {
		u.Accept(n.Append(nil, start), 1, true, start)
	}
	if u.Accept(late, 1, true, start) {
		t.Error("accepted, with younger ones forgotten")
	}
	if len(u.used) > 16 {
		t.Errorf("%d kept", len(u.used))
	}
}

func TestUsesDropWhatExpired(t *testing.T) {
	n := NewNonces(start, time.Minute)
	u := n.NewUses(1 << 16)
	for i := range 10000 {
		now := start.Add(time.Duration(i) * time.Second)
		if !u.Accept(n.Append(nil, now), 1, true, now) {
			t.Fatal(i)
		}
	}
	if cap(u.used) > 256 {
		t.Errorf("room for %d nonces, of which 60 are alive", cap(u.used))
	}
}

// Against a memory of everything: nothing passes twice, in whatever order.
func TestUsesAgainstAMap(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	n := NewNonces(start, time.Hour)
	u := n.NewUses(64)
	type key struct {
		nonce int
		nc    uint32
	}
	passed := map[key]bool{}
	var nonces [][]byte
	for i := range 20000 {
		now := start.Add(time.Duration(i) * time.Millisecond * 200)
		if i%20 == 0 {
			nonces = append(nonces, n.Append(nil, now))
		}
		k := key{max(0, len(nonces)-1-rnd.IntN(80)), 1 + rnd.Uint32N(100)}
		qop := rnd.IntN(10) > 0
		if !qop {
			k.nc = 0
		}
		if n.Check(nonces[k.nonce], now) == Fresh && u.Accept(nonces[k.nonce], k.nc, qop, now) {
			if passed[k] {
				t.Fatalf("step %d: %+v passed twice", i, k)
			}
			passed[k] = true
		}
	}
	if len(passed) < 5000 {
		t.Errorf("only %d of 20000 passed", len(passed))
	}
}

func BenchmarkNonce(b *testing.B) {
	n := NewNonces(start, 0)
	buf := make([]byte, 0, NonceLen)
	nonce := n.Append(nil, start)
	b.Run("Append", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			n.Append(buf, start)
		}
	})
	b.Run("Check", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if n.Check(nonce, start) != Fresh {
				b.Fatal("refused")
			}
		}
	})
}

// The lookup of a nonce in a stripe of an ordinary size.
func BenchmarkAccept(b *testing.B) {
	n := NewNonces(start, 0)
	u := n.NewUses(0)
	var nonces [512][]byte
	for i := range nonces {
		nonces[i] = n.Append(nil, start)
		u.Accept(nonces[i], 1, true, start)
	}
	b.ReportAllocs()
	i := uint32(0)
	for b.Loop() {
		i++
		if !u.Accept(nonces[i%512], i+1, true, start) {
			b.Fatal("refused")
		}
	}
}
