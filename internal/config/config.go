// Package config reads the configuration file into a validated struct that nobody changes afterwards.
//
// A component never sees this package: the program hands it the fields that it needs.
package config

import (
	"log/slog"
	"net/netip"
	"path/filepath"
	"time"
)

// Config is the whole configuration with its defaults filled in. It is never changed after Load.
type Config struct {
	// Data is the folder for everything that the service keeps.
	Data string
	// Database is "sqlite": a file in Data.
	Database string
	// SecretFile holds the key that encrypts the password hashes. It lies in Data unless the file says otherwise.
	SecretFile string
	// Realm of digest authentication; empty: the database's. The first start writes it there, and it cannot change after
	// that.
	Realm string
	// Digest are the algorithms offered in a challenge, in this order: "md5", "sha-256".
	Digest []string
	// Address are the addresses that are announced in Via, Record-Route and SDP. Empty: the one that was asked.
	Address []netip.Addr
	// Domains are our names, besides our addresses.
	Domains []Domain

	SIP       SIP
	STUN      STUN
	Web       Web
	Registrar Registrar
	Media     Media
	Test      Test
	Limits    Limits
	Log       Log
}

// Domain is a name under which the service is reached.
type Domain struct {
	Name string // lower case
}

// SIP says where signalling listens. ":5060" in the file has become 0.0.0.0:5060 and [::]:5060 here.
type SIP struct {
	UDP []netip.AddrPort
	TCP []netip.AddrPort
}

// STUN says where the STUN server listens besides the ports of SIP.
type STUN struct {
	// Listen is where, perhaps nowhere; nil: port 3478 of every address if nobody else has it.
	Listen []netip.AddrPort
	// Alternate are second addresses and ports, one for a family, which let agents learn the kind of their NAT
	// (RFC 5780). Empty: there are none.
	Alternate []netip.AddrPort
}

// Web says where health and metrics, and later the portal, are served.
type Web struct {
	Listen []netip.AddrPort
	// Metrics are the networks that may read /metrics.
	Metrics []netip.Prefix
}

// Registrar bounds the refresh period that the server chooses.
type Registrar struct {
	Min, Default, Max time.Duration
}

// Media says who carries the audio.
type Media struct {
	Policy Policy
}

// Policy decides whether the agents of a call exchange their media directly.
type Policy string

// PolicyAuto relays until direct is proven for both ends. Nothing proves it yet, so it comes to the same as PolicyAlways.
const (
	PolicyAuto   Policy = "auto"
	PolicyAlways Policy = "always" // through the relay
	PolicyDirect Policy = "direct" // never through the relay
)

// Test describes the test numbers.
type Test struct {
	Programme Programme
}

// Programme is the number that always plays a programme.
type Programme struct {
	Number  string
	Callers int           // that many at a time, then busy
	Limit   time.Duration // a call that lasts longer is ended
}

// Limits are the bounds for strangers, and who stands outside of them.
type Limits struct {
	// Trusted are the sources that no rate limit touches.
	Trusted []netip.Prefix
}

// Log says what is logged and how.
type Log struct {
	Level  slog.Level
	Format string // "text" or "json"
}

// LevelTrace logs whole SIP messages with their credentials masked.
const LevelTrace = slog.LevelDebug - 4

// SecretName is the name of the key file in the data folder.
const SecretName = "secret.key"

// Default is the configuration of a service that was told nothing.
func Default() Config {
	c := Config{
		Data:     "./data",
		Database: "sqlite",
		Digest:   []string{"md5"},
		SIP: SIP{
			UDP: append(everywhere(5060), everywhere(5070)...),
			TCP: append(everywhere(5060), everywhere(5070)...),
		},
		Web: Web{
			Listen:  everywhere(8080),
			Metrics: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")},
		},
		Registrar: Registrar{Min: time.Minute, Default: 5 * time.Minute, Max: time.Hour},
		Media:     Media{Policy: PolicyAuto},
		Test:      Test{Programme: Programme{Number: "15000", Callers: 100, Limit: 10 * time.Minute}},
		Log:       Log{Level: slog.LevelInfo, Format: "text"},
	}
	return c.derived()
}

// derived fills in what follows from other values.
func (c Config) derived() Config {
	if c.SecretFile == "" {
		c.SecretFile = filepath.Join(c.Data, SecretName)
	}
	return c
}

// everywhere is a port on every address of both families.
func everywhere(port uint16) []netip.AddrPort {
	return []netip.AddrPort{
		netip.AddrPortFrom(netip.IPv4Unspecified(), port),
		netip.AddrPortFrom(netip.IPv6Unspecified(), port),
	}
}
