package main

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"liaison/internal/account"
	"liaison/internal/store"
)

// subscriberResult is a subscriber as --json prints it.
type subscriberResult struct {
	ID      int64  `json:"id"`
	Name    string `json:"name"`
	Email   string `json:"email"`
	Prefix  string `json:"prefix"`
	Created moment `json:"created"`
}

func newSubscriberResult(s account.Subscriber) subscriberResult {
	return subscriberResult{s.ID, s.Name, s.Email, s.Prefix, moment(s.Created)}
}

// credentials are the one time that a password is shown.
type credentials struct {
	Number   string `json:"number"`
	Password string `json:"password"`
}

func (c *cli) printCredentials(all ...store.Credentials) error {
	rows := make([][]string, len(all))
	for i, a := range all {
		rows[i] = []string{string(a.Number), a.Password}
	}
	return c.printTable("NUMBER PASSWORD", rows)
}

func (c *cli) subscriberCommand() *cobra.Command {
	group := &cobra.Command{Use: "subscriber", Short: "The organisations that own accounts"}
	group.AddCommand(c.subscriberAdd(), c.subscriberList())
	return group
}

func (c *cli) subscriberAdd() *cobra.Command {
	var n store.NewSubscriber
	cmd := &cobra.Command{
		Use:   "add --name NAME --email ADDRESS",
		Short: "Make a subscriber, with premium accounts if wanted; prints their passwords, this once",
		Args:  cobra.NoArgs,
	}
	cmd.Flags().StringVar(&n.Name, "name", "", "the organisation's `name`")
	cmd.Flags().StringVar(&n.Email, "email", "", "e-mail `address` of its technical contact")
	cmd.Flags().StringVar(&n.Prefix, "prefix", "", "the four `digits` that its numbers begin with (default: the first free ones)")
	cmd.Flags().IntVar(&n.Accounts, "accounts", 0, "how many premium accounts to begin with")
	run := c.stored(func(ctx context.Context, s *store.Store, _ []string) error {
		sub, made, err := s.CreateSubscriber(ctx, n)
		if err != nil {
			return err
		}
		if c.json {
			result := struct {
				subscriberResult
				Accounts []credentials `json:"accounts"`
			}{newSubscriberResult(sub), make([]credentials, len(made))}
			for i, a := range made {
				result.Accounts[i] = credentials{string(a.Number), a.Password}
			}
			return c.printJSON(result)
		}
		if err := c.printTable("ID PREFIX NAME EMAIL", [][]string{{strconv.FormatInt(sub.ID, 10), sub.Prefix, sub.Name, sub.Email}}); err != nil {
			return err
		}
		if len(made) == 0 {
			return nil
		}
		return c.printCredentials(made...)
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if n.Name == "" || n.Email == "" {
			return usagef("a subscriber needs --name and --email")
		}
		if n.Accounts < 0 {
			return usagef("--accounts %d: a number from 0 on", n.Accounts)
		}
		return run(cmd, args)
	}
	return cmd
}

func (c *cli) subscriberList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the subscribers",
		Args:  cobra.NoArgs,
		RunE: c.stored(func(ctx context.Context, s *store.Store, _ []string) error {
			all, err := s.Subscribers(ctx)
			if err != nil {
				return err
			}
			type listed struct {
				subscriberResult
				Accounts int `json:"accounts"`
			}
			result := make([]listed, len(all))
			rows := make([][]string, len(all))
			for i, sub := range all {
				result[i] = listed{newSubscriberResult(sub.Subscriber), sub.Accounts}
				rows[i] = []string{strconv.FormatInt(sub.ID, 10), sub.Prefix, sub.Name, sub.Email, strconv.Itoa(sub.Accounts), moment(sub.Created).String()}
			}
			if c.json {
				return c.printJSON(result)
			}
			return c.printTable("ID PREFIX NAME EMAIL ACCOUNTS CREATED", rows)
		}),
	}
}
