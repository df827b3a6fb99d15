package digest

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"math"
	"sync/atomic"
	"time"
)

// DefaultLife is how long a nonce serves. It is the longest registration period
// (an hour), because an agent registers again before its period ends and then
// uses the nonce that it has: a nonce with less life would turn that one
// request into two, for every agent, for ever. A long life costs no safety,
// since Uses lets each nonce count pass once.
const DefaultLife = time.Hour

// NonceLen is the length of every nonce of ours.
const NonceLen = 40

// A nonce is 30 bytes in base64url, so no bits are left over and no nonce can
// be written in two ways:
//
//	0  age     4  seconds from the start of this service to the challenge
//	4  serial  4  tells apart those of one second
//	8  origin  6  random, drawn at the start: names this start of this node
//	14 mac    16  HMAC-SHA-256 over the 14 bytes before it, cut to 128 bits
//
// Time is counted from the start and not from 1970, so a clock that is set
// while the service runs neither ages a nonce nor makes it young again.
const (
	nonceOrigin = 8
	nonceMAC    = 14
	nonceBytes  = 30
)

// Nonces makes nonces and knows them again without having kept them. Safe for
// concurrent use.
type Nonces struct {
	start  time.Time
	life   uint32 // seconds
	origin [nonceMAC - nonceOrigin]byte
	serial atomic.Uint32
	// The key of the HMAC, padded and combined as RFC 2104 says. It is drawn at
	// the start like origin: no nonce of an earlier start or of another node
	// serves here, so there is nothing for which to share a key.
	inner, outer [sha256.BlockSize]byte
}

// NewNonces makes nonces that serve for life from now on; DefaultLife if it is
// zero.
func NewNonces(now time.Time, life time.Duration) *Nonces {
	if life <= 0 {
		life = DefaultLife
	}
	n := &Nonces{start: now, life: uint32(min(max(life/time.Second, 1), math.MaxUint32))}
	var key [32]byte
	rand.Read(key[:])
	rand.Read(n.origin[:])
	n.setKey(key)
	return n
}

func (n *Nonces) setKey(key [32]byte) {
	copy(n.inner[:], key[:])
	copy(n.outer[:], key[:])
	for i := range n.inner {
		n.inner[i] ^= 0x36
		n.outer[i] ^= 0x5c
	}
}

// mac is the HMAC of RFC 2104. Both hashes run over the stack: crypto/hmac
// would want a keyed state per goroutine, or make one each time.
func (n *Nonces) mac(head []byte) [nonceBytes - nonceMAC]byte {
	var b [sha256.BlockSize + sha256.Size]byte
	k := copy(b[:], n.inner[:])
	k += copy(b[k:], head)
	sum := sha256.Sum256(b[:k])
	k = copy(b[:], n.outer[:])
	copy(b[k:], sum[:])
	sum = sha256.Sum256(b[:])
	return [nonceBytes - nonceMAC]byte(sum[:])
}

// age is the time since the start in whole seconds.
func (n *Nonces) age(now time.Time) uint32 {
	return uint32(max(now.Sub(n.start)/time.Second, 0))
}

// Append appends a nonce that was not given before.
func (n *Nonces) Append(dst []byte, now time.Time) []byte {
	var b [nonceBytes]byte
	binary.BigEndian.PutUint32(b[0:], n.age(now))
	binary.BigEndian.PutUint32(b[4:], n.serial.Add(1))
	copy(b[nonceOrigin:], n.origin[:])
	mac := n.mac(b[:nonceMAC])
	copy(b[nonceMAC:], mac[:])
	return base64.RawURLEncoding.AppendEncode(dst, b[:])
}

// Verdict is what a nonce turns out to be.
type Verdict uint8

const (
	// Forged: not a nonce of ours, or one that was altered. The answer is a
	// challenge as to a stranger.
	Forged Verdict = iota
	// Stale: too old, or of the form of ours but from before a restart or from
	// another node, of which nobody here can say more. The answer is a challenge
	// with stale=true.
	Stale
	// Fresh: made here, and still of use.
	Fresh
)

func (v Verdict) String() string {
	return [...]string{"forged", "stale", "fresh"}[v]
}

// Check judges the nonce of credentials.
func (n *Nonces) Check(nonce []byte, now time.Time) Verdict {
	var b [nonceBytes]byte
	// The decoder passes over line ends, with which the length comes out wrong.
	if len(nonce) != NonceLen {
		return Forged
	}
	if k, err := base64.RawURLEncoding.Decode(b[:], nonce); err != nil || k != nonceBytes {
		return Forged
	}
	if [len(n.origin)]byte(b[nonceOrigin:]) != n.origin {
		return Stale
	}
	mac := n.mac(b[:nonceMAC])
	if subtle.ConstantTimeCompare(mac[:], b[nonceMAC:]) != 1 {
		return Forged
	}
	if n.expired(binary.BigEndian.Uint32(b[:]), now) {
		return Stale
	}
	return Fresh
}

// expired tells whether the life of a nonce is over that was made at an age.
func (n *Nonces) expired(made uint32, now time.Time) bool {
	age := n.age(now)
	return age > made && age-made >= n.life
}

// nonceID is age and serial of a nonce that Check found fresh: it tells nonces
// of one start apart and orders them by when they were made.
func nonceID(nonce []byte) (uint64, bool) {
	var b [9]byte
	if len(nonce) != NonceLen {
		return 0, false
	}
	if k, err := base64.RawURLEncoding.Decode(b[:], nonce[:12]); err != nil || k != len(b) {
		return 0, false
	}
	return binary.BigEndian.Uint64(b[:]), true
}
