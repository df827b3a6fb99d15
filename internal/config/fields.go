package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/goccy/go-yaml/ast"
)

// fields are the keys of the file. Their names are fixed: scripts and packages of others write them.
func fields(c *Config) []field {
	return []field{
		value("data", "data", &c.Data, folder),
		value("database", "database", &c.Database, database),
		value("secret_file", "secret_file", &c.SecretFile, folder),
		value("realm", "realm", &c.Realm, realm),
		checked(values("digest", "digest", &c.Digest, algorithm), func() error { return offered(c.Digest) }),
		values("address", "address", &c.Address, announced),
		{"domains", "domains", func(r *reader, n ast.Node) { r.domains(n, &c.Domains) }},
		checked(section("sip",
			checked(values("udp", "sip.udp", &c.SIP.UDP, listen), func() error { return bindable(c.SIP.UDP) }),
			checked(values("tcp", "sip.tcp", &c.SIP.TCP, listen), func() error { return bindable(c.SIP.TCP) }),
			later("tls", "sip.tls", "this version does not speak TLS; take the key out"),
			later("certificate", "sip.certificate", "this version does not speak TLS; take the key out"),
			later("key", "sip.key", "this version does not speak TLS; take the key out"),
		), c.SIP.reachable),
		section("stun",
			checked(values("listen", "stun.listen", &c.STUN.Listen, listen), func() error {
				if c.STUN.Listen == nil {
					c.STUN.Listen = []netip.AddrPort{} // an empty list is nowhere, and not the default
				}
				return bindable(c.STUN.Listen)
			}),
			values("alternate", "stun.alternate", &c.STUN.Alternate, oneAddress),
		),
		section("web",
			checked(values("listen", "web.listen", &c.Web.Listen, listen), c.Web.reachable),
			later("certificate", "web.certificate", "this version serves plain HTTP only; take the key out and put a proxy in front"),
			later("key", "web.key", "this version serves plain HTTP only; take the key out and put a proxy in front"),
			values("metrics", "web.metrics", &c.Web.Metrics, network),
		),
		checked(section("registrar",
			value("min", "registrar.min", &c.Registrar.Min, period),
			value("default", "registrar.default", &c.Registrar.Default, period),
			value("max", "registrar.max", &c.Registrar.Max, period),
		), c.Registrar.ordered),
		section("media",
			value("policy", "media.policy", &c.Media.Policy, policy),
		),
		section("test",
			sectionAt("programme", "test.programme",
				value("number", "test.programme.number", &c.Test.Programme.Number, number),
				value("callers", "test.programme.callers", &c.Test.Programme.Callers, count),
				value("limit", "test.programme.limit", &c.Test.Programme.Limit, period),
			),
		),
		section("limits",
			values("trusted", "limits.trusted", &c.Limits.Trusted, network),
		),
		section("log",
			value("level", "log.level", &c.Log.Level, level),
			value("format", "log.format", &c.Log.Format, format),
		),
	}
}

// domains reads the list of names; a bare name stands for one without a relay.
func (r *reader) domains(n ast.Node, to *[]Domain) {
	var all []Domain
	for _, e := range r.list(n) {
		var d Domain
		name := value("name", "domains.name", &d.Name, hostname)
		if _, ok := e.(ast.MapNode); !ok {
			name.read(r, e)
		} else {
			before := len(r.errs)
			r.mapping(e, "domains", []field{
				name,
				later("relay", "domains.relay", "this version has one relay, for all names; take the key out"),
			})
			if d.Name == "" && len(r.errs) == before {
				r.fail(e, "domains: a domain needs a name")
			}
		}
		if d.Name == "" {
			continue
		}
		if slices.Contains(all, d) {
			r.fail(e, "domains: %s stands there twice", d.Name)
			continue
		}
		all = append(all, d)
	}
	*to = all
}

// ordered checks that the periods can be kept together.
func (p *Registrar) ordered() error {
	if p.Min > p.Default || p.Default > p.Max {
		return fmt.Errorf("min is %v, default %v, max %v; they must rise in this order", p.Min, p.Default, p.Max)
	}
	return nil
}

func (s *SIP) reachable() error {
	if len(s.UDP)+len(s.TCP) == 0 {
		return errors.New("listens nowhere; name an address under udp or tcp")
	}
	return nil
}

func (w *Web) reachable() error {
	if len(w.Listen) == 0 {
		return errors.New("is empty; name an address, for example 127.0.0.1:8080")
	}
	return bindable(w.Listen)
}
