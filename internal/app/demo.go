package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"liaison/internal/account"
	"liaison/internal/store"
)

// The demonstration subscriber: two accounts to point two softphones at.
const (
	demoPrefix = "4567"
	demoFile   = "demo.txt"
)

// demo makes the demonstration subscriber at the first start, and says at each how to use it.
func (a *app) demo(ctx context.Context) error {
	name := filepath.Join(a.cfg.Data, demoFile)
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = a.makeDemo(ctx, name)
	}
	if err != nil {
		return fmt.Errorf("demonstration accounts: %w", err)
	}
	fmt.Fprintf(a.opt.Stderr, `
Demonstration accounts (also in %s):

%s
Point a softphone or codec at this machine:
  registrar, domain, proxy   %s   (UDP or TCP, port 5060 or 5070)
  user, number, account      one of the numbers above
  password                   the one beside it

Then dial from one to the other: the number, or its last four digits. Dial %s to hear the test programme.
Without a softphone:
  liaison call --account %s5001 --password PASSWORD %[4]s

`, name, text, a.hint(), a.cfg.Test.Programme.Number, demoPrefix)
	return nil
}

func (a *app) makeDemo(ctx context.Context, name string) ([]byte, error) {
	_, made, err := a.store.CreateSubscriber(ctx, store.NewSubscriber{Name: "Demonstration", Prefix: demoPrefix, Accounts: 2})
	if errors.Is(err, store.ErrExists) {
		// The file was lost, or a crash came before it was written: new passwords for the same numbers.
		for _, n := range []account.Number{demoPrefix + "5001", demoPrefix + "5002"} {
			password, err := a.store.SetPassword(ctx, n, "")
			if err != nil {
				return nil, err
			}
			made = append(made, store.Credentials{Number: n, Password: password})
		}
	} else if err != nil {
		return nil, err
	}
	var b strings.Builder
	for _, c := range made {
		fmt.Fprintf(&b, "  number %s   password %s\n", c.Number, c.Password)
	}
	return []byte(b.String()), os.WriteFile(name, []byte(b.String()), 0o600)
}

// hint is an address to type into a softphone.
func (a *app) hint() string {
	for _, addr := range a.cfg.Address {
		return addr.String()
	}
	for _, l := range a.outer.Listeners() {
		if !l.Addr.Addr().IsUnspecified() {
			return l.Addr.String()
		}
	}
	if addr := outward(); addr.IsValid() {
		return addr.String()
	}
	return "127.0.0.1"
}

// outward is this machine's first address that others can reach.
func outward() netip.Addr {
	for _, addr := range interfaceAddrs() {
		if addr.Is4() && !addr.IsLoopback() && !addr.IsLinkLocalUnicast() {
			return addr
		}
	}
	return netip.Addr{}
}
