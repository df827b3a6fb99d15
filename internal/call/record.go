package call

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"net/netip"
	"time"

	"liaison/internal/account"
)

// Record is what stays of a call: who called whom, when, and how it ended. Times are UTC; the zero time is "not yet".
type Record struct {
	ID      string // sorts by start
	CallID  string // SIP Call-ID
	Caller  account.Number
	Dialled string         // as the caller dialled it
	Callee  account.Number // empty: no such number

	Started, Answered, Ended time.Time

	Status  int    // final SIP status of the INVITE
	Cause   string // in words
	EndedBy EndedBy

	CallerAgent, CalleeAgent string // User-Agent
	CallerAddr, CalleeAddr   netip.AddrPort
	Offered, Agreed          string // codecs, "PCMA/8000/1,G722/8000/1"
	Media                    string // "relayed" or "direct", and why; empty: it did not come to that

	CallerSubscriber, CalleeSubscriber int64

	// Dialog lets the next start of the service go on with the call; nil once it has ended.
	Dialog []byte
}

// Open tells that the call is still up.
func (r *Record) Open() bool { return r.Ended.IsZero() }

// EndedBy is who ended a call.
type EndedBy string

// Who ends a call.
const (
	ByCaller  EndedBy = "caller"
	ByCallee  EndedBy = "callee"
	ByService EndedBy = "service"
)

// Recorder keeps the records; the store does.
type Recorder interface {
	// Save writes the record, new or known by its ID, and calls done when it is durable or has failed. It returns at
	// once and keeps r unchanged: the caller gives a copy away. done runs on another goroutine.
	Save(r Record, done func(error))
	// OpenCalls are the records of the calls that were up when the service last stopped.
	OpenCalls(ctx context.Context) ([]Record, error)
}

// newID is 48 bits of time and 64 of chance, so that records sort by start and nobody can guess one.
func newID(now time.Time) string {
	var b [15]byte
	binary.BigEndian.PutUint64(b[:8], uint64(now.UnixMilli())<<16)
	rand.Read(b[6:])
	return base32.HexEncoding.EncodeToString(b[:])
}
