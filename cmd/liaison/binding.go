package main

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"liaison/internal/registrar"
	"liaison/internal/store"
)

// bindingResult is a registration as --json prints it.
type bindingResult struct {
	Number    string `json:"number"`
	Contact   string `json:"contact"`
	Transport string `json:"transport"` // udp, tcp
	Source    string `json:"source"`    // where the REGISTER came from, and requests go to
	Local     string `json:"local"`     // our address that it came to
	UserAgent string `json:"user_agent"`
	State     string `json:"state"` // reachable, unreachable, unproven: never answered a ping, so silence means nothing
	Since     moment `json:"since"`
	Expires   moment `json:"expires"`
	Seen      moment `json:"seen"` // when the state last changed
	Instance  string `json:"instance"`
	RegID     uint32 `json:"reg_id"`
	CallID    string `json:"call_id"`
	Path      string `json:"path"`
}

func newBindingResult(b *registrar.Binding) bindingResult {
	return bindingResult{
		Number: string(b.AOR), Contact: b.Contact, Transport: b.Flow.Proto.Param(), Source: address(b.Flow.Remote), Local: address(b.Flow.Local),
		UserAgent: b.UserAgent, State: b.Reach.String(), Since: moment(b.Since), Expires: moment(b.Expires), Seen: moment(b.Seen),
		Instance: b.Instance, RegID: b.RegID, CallID: b.CallID, Path: b.Path,
	}
}

func (c *cli) bindingCommand() *cobra.Command {
	group := &cobra.Command{Use: "binding", Short: "Where agents are registered"}
	group.AddCommand(&cobra.Command{
		Use:   "list",
		Short: "List the registrations that hold",
		Args:  cobra.NoArgs,
		RunE: c.stored(func(ctx context.Context, s *store.Store, _ []string) error {
			now := time.Now()
			result := []bindingResult{}
			err := s.Bindings(ctx, func(b *registrar.Binding) error {
				if b.Expires.After(now) {
					result = append(result, newBindingResult(b))
				}
				return nil
			})
			if err != nil {
				return err
			}
			slices.SortFunc(result, func(a, b bindingResult) int {
				return cmp.Or(cmp.Compare(a.Number, b.Number), time.Time(a.Since).Compare(time.Time(b.Since)))
			})
			if c.json {
				return c.printJSON(result)
			}
			rows := make([][]string, len(result))
			for i, b := range result {
				rows[i] = []string{b.Number, b.Transport, b.Source, b.State, b.Since.String(), b.Expires.String(), b.UserAgent, b.Contact}
			}
			return c.printTable("NUMBER TRANSPORT SOURCE STATE SINCE EXPIRES AGENT CONTACT", rows)
		}),
	})
	return group
}
