package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The converters turn the text of one value into its type. Their errors say what is wrong and what is right.

func folder(s string) (string, error) {
	if s == "" {
		return "", errors.New("is empty; name a path")
	}
	return s, nil
}

func database(s string) (string, error) {
	if strings.HasPrefix(s, "postgres://") || strings.HasPrefix(s, "postgresql://") {
		return "", errors.New("this version keeps its data in SQLite only; take the key out or say sqlite")
	}
	if s != "sqlite" {
		return "", fmt.Errorf("%q is no database; say sqlite", s)
	}
	return s, nil
}

// realm goes between quotes into headers and into every password hash.
func realm(s string) (string, error) {
	if s == "" || len(s) > 64 {
		return "", errors.New("must have 1 to 64 characters")
	}
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' || c == '"' || c == '\\' || c == ':' {
			return "", fmt.Errorf("%q: only plain ASCII without quotes, backslashes and colons", s)
		}
	}
	return s, nil
}

func algorithm(s string) ([]string, error) {
	switch a := strings.ToLower(s); a {
	case "md5", "sha-256":
		return []string{a}, nil
	}
	return nil, fmt.Errorf("%q is no algorithm; there are md5 and sha-256", s)
}

func offered(all []string) error {
	if len(all) == 0 {
		return errors.New("is empty; name md5, or sha-256 and md5")
	}
	for i, a := range all {
		if slices.Contains(all[:i], a) {
			return fmt.Errorf("%s stands there twice", a)
		}
	}
	return nil
}

func announced(s string) ([]netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() {
		return nil, fmt.Errorf("%q is no address that can be announced; write one like 203.0.113.5 or 2001:db8::5", s)
	}
	return []netip.Addr{a.Unmap()}, nil
}

// hostname takes a name or an address; a name is kept in lower case because hosts are compared without case.
func hostname(s string) (string, error) {
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil && a.Zone() == "" {
		return a.String(), nil
	}
	name := strings.ToLower(strings.TrimSuffix(s, "."))
	if name == "" || len(name) > 253 {
		return "", fmt.Errorf("%q is no host name", s)
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return "", fmt.Errorf("%q is no host name", s)
		}
	}
	return name, nil
}

// listen takes "host:port" with an address for host; without one it is every address of both families.
func listen(s string) ([]netip.AddrPort, error) {
	if port, ok := strings.CutPrefix(s, ":"); ok {
		if n, err := strconv.ParseUint(port, 10, 16); err == nil {
			return everywhere(uint16(n)), nil
		}
	} else if a, err := netip.ParseAddrPort(s); err == nil && !a.Addr().IsMulticast() {
		return []netip.AddrPort{netip.AddrPortFrom(a.Addr().Unmap(), a.Port())}, nil
	}
	return nil, fmt.Errorf("%q is nothing to listen on; write it like \":5060\", \"192.0.2.1:5060\" or \"[::]:5060\"", s)
}

// oneAddress takes an address of this machine with a port.
func oneAddress(s string) ([]netip.AddrPort, error) {
	a, err := netip.ParseAddrPort(s)
	if err != nil || a.Addr().IsUnspecified() || a.Addr().IsMulticast() || a.Port() == 0 {
		return nil, fmt.Errorf("%q is no address with a port; write it like \"192.0.2.2:3479\"", s)
	}
	return []netip.AddrPort{netip.AddrPortFrom(a.Addr().Unmap(), a.Port())}, nil
}

// bindable checks that no address is there twice; port 0 is a new port each time.
func bindable(all []netip.AddrPort) error {
	for i, a := range all {
		if a.Port() != 0 && slices.Contains(all[:i], a) {
			return fmt.Errorf("%v stands there twice", a)
		}
	}
	return nil
}

// network takes a CIDR or a lone address.
func network(s string) ([]netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return []netip.Prefix{netip.PrefixFrom(a, a.BitLen())}, nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return nil, fmt.Errorf("%q is no network; write one like 192.0.2.0/24", s)
	}
	if p != p.Masked() {
		return nil, fmt.Errorf("%q has bits behind its mask; write %v", s, p.Masked())
	}
	return []netip.Prefix{p}, nil
}

// period takes a duration in whole seconds, because that is what SIP can say.
func period(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%q is no period; write one like 30s, 5m or 1h", s)
	case d < time.Second || d%time.Second != 0:
		return 0, fmt.Errorf("%q: only whole seconds, from 1s", s)
	case d > 24*time.Hour:
		return 0, fmt.Errorf("%q: at most 24h", s)
	}
	return d, nil
}

func policy(s string) (Policy, error) {
	switch p := Policy(s); p {
	case PolicyAuto, PolicyAlways, PolicyDirect:
		return p, nil
	}
	return "", fmt.Errorf("%q is no policy; there are auto, always and direct", s)
}

func number(s string) (string, error) {
	if s == "" || len(s) > 32 || strings.Trim(s, "0123456789") != "" {
		return "", fmt.Errorf("%q is no number; write up to 32 digits", s)
	}
	return s, nil
}

func count(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > 100_000 {
		return 0, fmt.Errorf("%q: write a number from 1 to 100000", s)
	}
	return n, nil
}

func level(s string) (slog.Level, error) {
	switch s {
	case "error":
		return slog.LevelError, nil
	case "warn":
		return slog.LevelWarn, nil
	case "info":
		return slog.LevelInfo, nil
	case "debug":
		return slog.LevelDebug, nil
	case "trace":
		return LevelTrace, nil
	}
	return 0, fmt.Errorf("%q is no level; there are error, warn, info, debug and trace", s)
}

func format(s string) (string, error) {
	if s != "text" && s != "json" {
		return "", fmt.Errorf("%q is no format; there are text and json", s)
	}
	return s, nil
}
