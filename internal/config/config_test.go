package config

import (
	"bytes"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var compareTypes = cmp.Options{
	cmpopts.EquateComparable(netip.AddrPort{}, netip.Addr{}, netip.Prefix{}),
	cmpopts.EquateEmpty(),
}

func TestExampleIsTheDefaults(t *testing.T) {
	got, err := Parse("liaison.yaml", Example())
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	if d := cmp.Diff(&want, got, compareTypes); d != "" {
		t.Errorf("the reference differs from the defaults (-default +reference):\n%s", d)
	}
}

func TestExampleShowsEveryKey(t *testing.T) {
	text := string(Example())
	var c Config
	for _, f := range fields(&c) {
		if !regexp.MustCompile(`(?m)^#?` + f.key + `:`).MatchString(text) {
			t.Errorf("the reference does not show the key %q", f.key)
		}
	}
	// An unknown key's error names the keys of its section.
	for section, indent := range map[string]string{"sip": "  ", "stun": "  ", "web": "  ", "registrar": "  ", "media": "  ", "test": "  ", "limits": "  ", "log": "  "} {
		_, err := Parse("f", []byte(section+":\n  nonsense: 1\n"))
		_, names, _ := strings.Cut(err.Error(), "the keys there are ")
		for name := range strings.SplitSeq(names, ", ") {
			if !regexp.MustCompile(`(?m)^` + section + `:\n(?:(?: +.*)?\n)*` + indent + `#?` + name + `:`).MatchString(text) {
				t.Errorf("the reference does not show %s.%s", section, name)
			}
		}
	}
}

func TestExampleOptionsAreRightWhenTheyAreTakenIn(t *testing.T) {
	option := regexp.MustCompile(`^( *)#([a-z_]+:.*)$`)
	text := strings.Split(string(Example()), "\n")
	for i, line := range text {
		m := option.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		in := append([]string(nil), text...)
		in[i] = m[1] + m[2]
		_, err := Parse("f", []byte(strings.Join(in, "\n")))
		if err != nil && !strings.Contains(err.Error(), "this version") {
			t.Errorf("%s: %v", m[2], err)
		}
	}
}

func TestParse(t *testing.T) {
	with := func(change func(*Config)) *Config {
		c := Default()
		change(&c)
		return &c
	}
	addrs := func(s ...string) (all []netip.AddrPort) {
		for _, a := range s {
			all = append(all, netip.MustParseAddrPort(a))
		}
		return all
	}
	for _, row := range []struct {
		sentence string
		file     string
		want     *Config
	}{
		{"an empty file is the defaults", "", with(func(*Config) {})},
		{"a file of comments is the defaults", "# nothing\n", with(func(*Config) {})},
		{"a section without values is the defaults", "sip:\nlog:\n", with(func(*Config) {})},
		{"the key lies in the data folder", "data: /srv/x", with(func(c *Config) { c.Data, c.SecretFile = "/srv/x", "/srv/x/secret.key" })},
		{"or where the file says", "secret_file: /srv/key", with(func(c *Config) { c.SecretFile = "/srv/key" })},
		{"a list may be a lone value", "sip: {udp: '127.0.0.1:0'}", with(func(c *Config) { c.SIP.UDP = addrs("127.0.0.1:0") })},
		{"a port alone is both families", "sip: {udp: ':5080'}", with(func(c *Config) { c.SIP.UDP = addrs("0.0.0.0:5080", "[::]:5080") })},
		{"a port alone needs no quotes in a block list", "sip:\n  tcp:\n  - :5080\n", with(func(c *Config) { c.SIP.TCP = addrs("0.0.0.0:5080", "[::]:5080") })},
		{"each family alone", "sip: {udp: ['0.0.0.0:5060', '[::]:5070']}", with(func(c *Config) { c.SIP.UDP = addrs("0.0.0.0:5060", "[::]:5070") })},
		{"one transport may be switched off", "sip: {tcp: []}", with(func(c *Config) { c.SIP.TCP = nil })},
		{"STUN may be switched off", "stun: {listen: []}", with(func(c *Config) { c.STUN.Listen = []netip.AddrPort{} })},
		{"STUN with a second address", "stun: {listen: '192.0.2.1:3478', alternate: '192.0.2.2:3479'}", with(func(c *Config) {
			c.STUN = STUN{Listen: addrs("192.0.2.1:3478"), Alternate: addrs("192.0.2.2:3479")}
		})},
		{"port 0 may stand twice", "web: {listen: ['127.0.0.1:0', '127.0.0.1:0']}", with(func(c *Config) { c.Web.Listen = addrs("127.0.0.1:0", "127.0.0.1:0") })},
		{"an address to announce", "address: 203.0.113.5", with(func(c *Config) { c.Address = []netip.Addr{netip.MustParseAddr("203.0.113.5")} })},
		{"names are kept in lower case", "domains: [{name: SIP.Example.org.}, codec.example]", with(func(c *Config) { c.Domains = []Domain{{"sip.example.org"}, {"codec.example"}} })},
		{"algorithms in their order", "digest: [SHA-256, md5]", with(func(c *Config) { c.Digest = []string{"sha-256", "md5"} })},
		{"periods", "registrar: {min: 1s, default: 90s, max: 2h}", with(func(c *Config) {
			c.Registrar = Registrar{time.Second, 90 * time.Second, 2 * time.Hour}
		})},
		{"a number keeps its digits", "test: {programme: {number: 0150, callers: 3, limit: 1m}}", with(func(c *Config) {
			c.Test.Programme = Programme{"0150", 3, time.Minute}
		})},
		{"a lone address is a network", "limits: {trusted: [192.0.2.7, '2001:db8::/32']}", with(func(c *Config) {
			c.Limits.Trusted = []netip.Prefix{netip.MustParsePrefix("192.0.2.7/32"), netip.MustParsePrefix("2001:db8::/32")}
		})},
		{"metrics for nobody", "web: {metrics: []}", with(func(c *Config) { c.Web.Metrics = nil })},
		{"log", "log: {level: trace, format: json}", with(func(c *Config) { c.Log = Log{LevelTrace, "json"} })},
		{"the log level is slog's", "log: {level: warn}", with(func(c *Config) { c.Log.Level = slog.LevelWarn })},
		{"direct media", "media: {policy: direct}", with(func(c *Config) { c.Media.Policy = PolicyDirect })},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			got, err := Parse("f", []byte(row.file))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(row.want, got, compareTypes); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

func TestParseErrors(t *testing.T) {
	for _, row := range []struct {
		sentence string
		file     string
		want     string // whole, or a part of it if it ends with ...
	}{
		{"an unknown key", "log:\n  level: info\n  colour: red\n", `f:3: unknown key "colour" under log; the keys there are level, format`},
		{"an unknown key at the top", "\nlogs: {}\n", `f:2: unknown key "logs"; the keys are data, database,...`},
		{"an unknown key deep down", "test:\n  programme:\n    codec: x\n", `f:3: unknown key "codec" under test.programme; the keys there are number, callers, limit`},
		{"several errors, each with its line", "realm: 'a\"b'\nlog:\n  level: loud\nmedia: {policy: perhaps}\n",
			"f:1: realm: \"a\\\"b\": only plain ASCII without quotes, backslashes and colons\n" +
				"f:3: log.level: \"loud\" is no level; there are error, warn, info, debug and trace\n" +
				"f:4: media.policy: \"perhaps\" is no policy; there are auto, always and direct"},
		{"a key twice", "data: a\ndata: b\n", `f:2: not YAML: ...`},
		{"no YAML at all", "sip: [\n", `f:1: not YAML: ...`},
		{"a text where keys belong", "sip: 5060", `f:1: sip: expected keys with values; the keys are udp, tcp, tls, certificate, key`},
		{"a list at the top", "- a\n", `f:1: expected keys with values; ...`},
		{"keys where a value belongs", "data: {a: b}", `f:1: data: expected a single value; a value with colons needs quotes`},
		{"a key without a value", "data:\n", `f:1: data: has no value; give one or take the key out`},
		{"an anchor", "data: &x a", `f:1: data: expected a single value; a value with colons needs quotes`},
		{"two documents", "data: a\n---\ndata: b\n", `f:3: a second document; the configuration is one`},
		{"PostgreSQL", "database: postgres://db/liaison", `f:1: database: this version keeps its data in SQLite only; take the key out or say sqlite`},
		{"another database", "database: mysql", `f:1: database: "mysql" is no database; say sqlite`},
		{"TLS", "sip:\n  tls: ':5061'\n", `f:2: sip.tls: this version does not speak TLS; take the key out`},
		{"HTTPS", "web:\n  key: k.pem\n", `f:2: web.key: this version serves plain HTTP only; take the key out and put a proxy in front`},
		{"a relay pool", "domains: [{name: a.example, relay: paris}]", `f:1: domains.relay: this version has one relay, for all names; take the key out`},
		{"a port as a number", "sip: {udp: 5060}", `f:1: sip.udp: "5060" is nothing to listen on; write it like ":5060", "192.0.2.1:5060" or "[::]:5060"`},
		{"a name to listen on", "sip: {udp: 'localhost:5060'}", `f:1: sip.udp: "localhost:5060" is nothing to listen on; ...`},
		{"an address twice", "sip: {udp: [':5060', '0.0.0.0:5060']}", `f:1: sip.udp: 0.0.0.0:5060 stands there twice`},
		{"nothing to listen on", "sip: {udp: [], tcp: []}", `f:1: sip: listens nowhere; name an address under udp or tcp`},
		{"no web address", "web: {listen: []}", `f:1: web.listen: is empty; name an address, for example 127.0.0.1:8080`},
		{"a period without a unit", "registrar: {min: 60}", `f:1: registrar.min: "60" is no period; write one like 30s, 5m or 1h`},
		{"a part of a second", "registrar: {min: 1500ms}", `f:1: registrar.min: "1500ms": only whole seconds, from 1s`},
		{"periods in disorder", "registrar: {max: 100s}", `f:1: registrar: min is 1m0s, default 5m0s, max 1m40s; they must rise in this order`},
		{"an algorithm twice", "digest: [md5, MD5]", `f:1: digest: md5 stands there twice`},
		{"no algorithm", "digest: []", `f:1: digest: is empty; name md5, or sha-256 and md5`},
		{"a wildcard to announce", "address: [0.0.0.0]", `f:1: address: "0.0.0.0" is no address that can be announced; ...`},
		{"a domain with a port", "domains: [{name: 'a.example:5060'}]", `f:1: domains.name: "a.example:5060" is no host name`},
		{"a domain without a name", "domains: [{}]", `f:1: domains: a domain needs a name`},
		{"a domain twice", "domains: [a.example, A.example]", `f:1: domains: a.example stands there twice`},
		{"a network with host bits", "limits: {trusted: [192.0.2.1/24]}", `f:1: limits.trusted: "192.0.2.1/24" has bits behind its mask; write 192.0.2.0/24`},
		{"a number with letters", "test: {programme: {number: 15k}}", `f:1: test.programme.number: "15k" is no number; write up to 32 digits`},
		{"no callers", "test: {programme: {callers: 0}}", `f:1: test.programme.callers: "0": write a number from 1 to 100000`},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			_, err := Parse("f", []byte(row.file))
			if err == nil {
				t.Fatal("no error")
			}
			got := err.Error()
			if part, ok := strings.CutSuffix(row.want, "..."); ok {
				if !strings.HasPrefix(got, part) {
					t.Errorf("got  %s\nwant %s", got, row.want)
				}
			} else if got != row.want {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "l.yaml")
	if err := os.WriteFile(file, []byte("data: /srv/a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(file, "/srv/b")
	if err != nil {
		t.Fatal(err)
	}
	if c.Data != "/srv/b" || c.SecretFile != "/srv/b/secret.key" {
		t.Errorf("--data does not beat the file: %q, %q", c.Data, c.SecretFile)
	}
	if c, err = Load("", ""); err != nil || c.Data != "./data" {
		t.Errorf("no file: %v, %v", c, err)
	}
	_, err = Load(filepath.Join(dir, "none"), "")
	if err == nil || !strings.HasSuffix(err.Error(), "cannot be read: no such file or directory; give another file with --config") || strings.Contains(err.Error(), "\n") {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestFind(t *testing.T) {
	t.Setenv("LIAISON_CONFIG", "/x/env.yaml")
	if got := Find("/x/flag.yaml"); got != "/x/flag.yaml" {
		t.Errorf("the option: %q", got)
	}
	if got := Find(""); got != "/x/env.yaml" {
		t.Errorf("the environment: %q", got)
	}
}

// Whatever the bytes are, either there is a configuration that a service could start with, or every error has its line.
func FuzzParse(f *testing.F) {
	f.Add(Example())
	f.Add([]byte("sip: {udp: ':5060'}\n"))
	f.Add([]byte("a: [\n- b\n"))
	f.Add([]byte("? a\n: &b {c: *b}\n--- !x |\n z"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Parse("f", text)
		if err != nil {
			for _, e := range err.(Errors) {
				if e.Line < 1 || e.Text == "" {
					t.Errorf("an error without its place: %+v", e)
				}
			}
			return
		}
		if c.Data == "" || len(c.Digest) == 0 || len(c.SIP.UDP)+len(c.SIP.TCP) == 0 || len(c.Web.Listen) == 0 ||
			c.Registrar.Min > c.Registrar.Default || c.Registrar.Default > c.Registrar.Max {
			t.Errorf("accepted %q: %+v", text, c)
		}
		if bytes.Contains([]byte(c.Realm), []byte{'"'}) {
			t.Errorf("a realm that breaks out of its quotes: %q", c.Realm)
		}
	})
}
