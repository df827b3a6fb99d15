// Package registrar knows where agents can be reached: it takes REGISTER requests (RFC 3261 10.3), keeps the bindings in
// memory, keeps the UDP ones open, and has every accepted change written down before it is answered.
package registrar

import (
	"context"
	"strings"
	"time"

	"liaison/internal/account"
	"liaison/internal/sip/transport"
)

// Binding is what a registration leaves: account -> where to reach the agent.
type Binding struct {
	ID        int64 // never used twice
	AOR       account.Number
	Contact   string // URI as sent
	Instance  string // value of +sip.instance as sent, without its quotes; empty: none
	RegID     uint32 // RFC 5626; 0: none
	CallID    string
	CSeq      uint32
	Q         uint16         // thousandths, 1000 unless the agent said otherwise
	Path      string         // RFC 3327, as the value of a Route header: "<sip:a;lr>, <sip:b;lr>"; empty: none
	UserAgent string         // shortened and printable
	Flow      transport.Flow // where the REGISTER came from: requests to the agent go there, whatever Contact says
	Since     time.Time      // of the first registration that has been refreshed without a gap
	Expires   time.Time
	Seen      time.Time // last sign of life; of a stored binding: when Reach last changed
	Reach     Reach
}

// Target is the Request-URI of requests to this agent. RFC 3261 19.1.1: headers ("?Route=...") may stand in a Contact
// but not in a Request-URI.
func (b *Binding) Target() string { return target(b.Contact) }

func target(contact string) string {
	host := strings.IndexByte(contact, '@') + 1 // '?' may stand in a user part
	if i := strings.IndexByte(contact[host:], '?'); i >= 0 {
		return contact[:host+i]
	}
	return contact
}

// Reach tells whether requests get to the agent, as far as the keep-alive knows.
//
//	Unproven --answer--> Reachable --three misses--> Unreachable --answer or REGISTER--> Reachable
//	any, over a stream --connection closed--> Unreachable
type Reach uint8

const (
	Unproven    Reach = iota // never answered a ping, so silence means nothing
	Reachable                // answers
	Unreachable              // was reachable and is not any more
)

func (r Reach) String() string {
	switch r {
	case Reachable:
		return "reachable"
	case Unreachable:
		return "unreachable"
	}
	return "unproven"
}

// ChangeKind tells what of a Binding a Change is about.
type ChangeKind uint8

const (
	Added     ChangeKind = iota // new, or altered under its old ID: the whole row
	Refreshed                   // only Expires and CSeq moved; of the rest only ID and AOR are set
	Reached                     // only Reach and Seen moved; of the rest only ID and AOR are set
	Removed                     // gone; only ID and AOR are set
)

func (k ChangeKind) String() string {
	return [...]string{"added", "refreshed", "reached", "removed"}[k]
}

// Change is one step of a binding.
type Change struct {
	Kind    ChangeKind
	Binding Binding
}

// Store remembers bindings over a restart.
type Store interface {
	// SaveBindings keeps all changes or none, in their order: several may be about one ID, and the last one counts
	// (an Added after a Refreshed too). A Refreshed, Reached or Removed whose ID is not there is no error: the row was
	// expired. When it returns nil the changes survive kill -9. The slice is used again after the return.
	// It is called by one goroutine at a time.
	SaveBindings(ctx context.Context, changes []Change) error
	// Bindings gives every stored binding with its last Expires, CSeq, Reach and Seen, in any order, expired ones too.
	// The Binding may be used again after each returns; an error of each ends the walk and is returned.
	Bindings(ctx context.Context, each func(*Binding) error) error
}
