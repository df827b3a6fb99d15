package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"liaison/internal/account"
	"liaison/internal/store"
)

// accountResult is an account as --json prints it.
type accountResult struct {
	Number         string `json:"number"`
	Kind           string `json:"kind"`
	Subscriber     *int64 `json:"subscriber"` // null: nobody's
	SubscriberName string `json:"subscriber_name"`
	State          string `json:"state"` // ok, locked, off, not yet valid, expired
	Locked         bool   `json:"locked"`
	Off            bool   `json:"off"`
	ValidFrom      moment `json:"valid_from"`
	ValidUntil     moment `json:"valid_until"`
	Created        moment `json:"created"`
}

func newAccountResult(a store.ListedAccount) accountResult {
	r := accountResult{
		Number: string(a.Number), Kind: a.Kind.String(), SubscriberName: a.SubscriberName, State: accountState(&a.Account),
		Locked: a.Locked, Off: a.Off, ValidFrom: moment(a.ValidFrom), ValidUntil: moment(a.ValidUntil), Created: moment(a.Created),
	}
	if a.Subscriber != 0 {
		r.Subscriber = &a.Subscriber
	}
	return r
}

// accountState is what an agent of the account would be told, in a word.
func accountState(a *account.Account) string {
	refused := a.Usable(time.Now())
	if refused == nil {
		return "ok"
	}
	for err, word := range map[error]string{
		account.ErrLocked: "locked", account.ErrOff: "off", account.ErrNotYetValid: "not yet valid", account.ErrExpired: "expired",
	} {
		if errors.Is(refused.Err, err) {
			return word
		}
	}
	return refused.Reason
}

func (r accountResult) row() []string {
	return []string{r.Number, r.Kind, r.State, r.SubscriberName, r.ValidFrom.String(), r.ValidUntil.String(), r.Created.String()}
}

const accountHead = "NUMBER KIND STATE SUBSCRIBER VALID_FROM VALID_UNTIL CREATED"

func (c *cli) accountCommand() *cobra.Command {
	group := &cobra.Command{Use: "account", Short: "Numbers and their passwords"}
	group.AddCommand(c.accountAdd(), c.accountImport(), c.accountList(), c.accountShow(), c.accountPassword(),
		c.accountLock("lock", "Keep an account from registering and calling", true),
		c.accountLock("unlock", "Let a locked account register and call again", false),
		c.accountRemove())
	return group
}

func (c *cli) accountAdd() *cobra.Command {
	var (
		n    store.NewAccount
		kind string
	)
	cmd := &cobra.Command{
		Use:   "add --number N",
		Short: "Make an account; prints its password if it was not given, this once",
		Args:  cobra.NoArgs,
	}
	cmd.Flags().StringVar(&n.Number, "number", "", "the `number`; without it, the next one of the subscriber's sequence")
	cmd.Flags().StringVar(&kind, "kind", account.Premium.String(), "factory, premium, mobile, hunt, test or temporary")
	cmd.Flags().StringVar(&n.Subscriber, "subscriber", "", "prefix, ID or name of the `subscriber` (default: whose prefix the number has)")
	cmd.Flags().StringVar(&n.Password, "password", "", "the `password` (default: a random one)")
	run := c.stored(func(ctx context.Context, s *store.Store, _ []string) error {
		made, err := s.AddAccount(ctx, n)
		if err != nil {
			return err
		}
		return c.printPassword(made, n.Password == "", "account %s made\n")
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if n.Number == "" && n.Subscriber == "" {
			return usagef("an account needs --number, or --subscriber to take the next number of")
		}
		if cmd.Flags().Changed("password") && n.Password == "" {
			return usagef("--password is empty; leave it out for a random one")
		}
		var err error
		if n.Kind, err = account.ParseKind(kind); err != nil {
			return usagef("--kind: %w", err)
		}
		return run(cmd, args)
	}
	return cmd
}

// printPassword prints a password that was made up, once; one that somebody gave is known to them.
func (c *cli) printPassword(made store.Credentials, random bool, done string) error {
	if c.json {
		result := struct {
			Number   string  `json:"number"`
			Password *string `json:"password"`
		}{Number: string(made.Number)}
		if random {
			result.Password = &made.Password
		}
		return c.printJSON(result)
	}
	if random {
		return c.printCredentials(made)
	}
	_, err := fmt.Fprintf(c.out, done, made.Number)
	return err
}

func (c *cli) accountList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the accounts",
		Args:  cobra.NoArgs,
		RunE: c.stored(func(ctx context.Context, s *store.Store, _ []string) error {
			all, err := s.Accounts(ctx, 0)
			if err != nil {
				return err
			}
			result := make([]accountResult, len(all))
			rows := make([][]string, len(all))
			for i, a := range all {
				result[i] = newAccountResult(a)
				rows[i] = result[i].row()
			}
			if c.json {
				return c.printJSON(result)
			}
			return c.printTable(accountHead, rows)
		}),
	}
}

func (c *cli) accountShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show N",
		Short: "Show an account",
		Args:  cobra.ExactArgs(1),
		RunE: c.stored(func(ctx context.Context, s *store.Store, args []string) error {
			a, err := s.Account(ctx, account.Number(args[0]))
			if err != nil {
				return err
			}
			result := newAccountResult(a)
			if c.json {
				return c.printJSON(result)
			}
			return c.printTable(accountHead, [][]string{result.row()})
		}),
	}
}

func (c *cli) accountPassword() *cobra.Command {
	var password string
	cmd := &cobra.Command{
		Use:   "password N",
		Short: "Give an account another password; prints it if it was not given, this once",
		Args:  cobra.ExactArgs(1),
		RunE: c.stored(func(ctx context.Context, s *store.Store, args []string) error {
			n := account.Number(args[0])
			made, err := s.SetPassword(ctx, n, password)
			if err != nil {
				return err
			}
			return c.printPassword(store.Credentials{Number: n, Password: made}, password == "", "account %s has the new password\n")
		}),
	}
	cmd.Flags().StringVar(&password, "password", "", "the `password` (default: a random one)")
	return cmd
}

func (c *cli) accountLock(name, short string, locked bool) *cobra.Command {
	return &cobra.Command{
		Use:   name + " N",
		Short: short,
		Args:  cobra.ExactArgs(1),
		RunE: c.stored(func(ctx context.Context, s *store.Store, args []string) error {
			if err := s.SetLocked(ctx, account.Number(args[0]), locked); err != nil {
				return err
			}
			if c.json {
				return c.printJSON(struct {
					Number string `json:"number"`
					Locked bool   `json:"locked"`
				}{args[0], locked})
			}
			_, err := fmt.Fprintf(c.out, "account %s %sed\n", args[0], name)
			return err
		}),
	}
}

func (c *cli) accountRemove() *cobra.Command {
	return &cobra.Command{
		Use:   "remove N",
		Short: "Remove an account; its call records stay",
		Args:  cobra.ExactArgs(1),
		RunE: c.stored(func(ctx context.Context, s *store.Store, args []string) error {
			if err := s.RemoveAccount(ctx, account.Number(args[0])); err != nil {
				return err
			}
			if c.json {
				return c.printJSON(struct {
					Number  string `json:"number"`
					Removed bool   `json:"removed"`
				}{args[0], true})
			}
			_, err := fmt.Fprintf(c.out, "account %s removed\n", args[0])
			return err
		}),
	}
}
