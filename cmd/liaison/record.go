package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"liaison/internal/call"
	"liaison/internal/store"
)

// recordResult is a call, over or still up, as --json prints it.
type recordResult struct {
	ID               string   `json:"id"`
	CallID           string   `json:"call_id"` // of the caller's SIP dialog
	Caller           string   `json:"caller"`
	Dialled          string   `json:"dialled"`
	Callee           string   `json:"callee"`
	Started          moment   `json:"started"`
	Answered         moment   `json:"answered"`
	Ended            moment   `json:"ended"`
	DurationS        *float64 `json:"duration_s"` // from the answer to the end; null while up, 0 without an answer
	Status           int      `json:"status"`
	Cause            string   `json:"cause"`
	EndedBy          string   `json:"ended_by"` // caller, callee, service
	CallerAgent      string   `json:"caller_agent"`
	CalleeAgent      string   `json:"callee_agent"`
	CallerAddress    string   `json:"caller_address"`
	CalleeAddress    string   `json:"callee_address"`
	CodecsOffered    []string `json:"codecs_offered"`
	CodecsAgreed     []string `json:"codecs_agreed"`
	Relayed          *bool    `json:"relayed"` // null: it did not come to that
	Media            string   `json:"media"`   // relayed or direct, and why
	CallerSubscriber *int64   `json:"caller_subscriber"`
	CalleeSubscriber *int64   `json:"callee_subscriber"`
}

func newRecordResult(r *call.Record) recordResult {
	result := recordResult{
		ID: r.ID, CallID: r.CallID, Caller: string(r.Caller), Dialled: r.Dialled, Callee: string(r.Callee),
		Started: moment(r.Started), Answered: moment(r.Answered), Ended: moment(r.Ended),
		Status: r.Status, Cause: r.Cause, EndedBy: string(r.EndedBy),
		CallerAgent: r.CallerAgent, CalleeAgent: r.CalleeAgent,
		CallerAddress: address(r.CallerAddr), CalleeAddress: address(r.CalleeAddr),
		CodecsOffered: codecs(r.Offered), CodecsAgreed: codecs(r.Agreed), Media: r.Media,
	}
	if r.Media != "" {
		relayed := strings.HasPrefix(r.Media, "relayed")
		result.Relayed = &relayed
	}
	if !r.Open() {
		d := duration(r).Seconds()
		result.DurationS = &d
	}
	if r.CallerSubscriber != 0 {
		result.CallerSubscriber = &r.CallerSubscriber
	}
	if r.CalleeSubscriber != 0 {
		result.CalleeSubscriber = &r.CalleeSubscriber
	}
	return result
}

// duration is the time from the answer to the end.
func duration(r *call.Record) time.Duration {
	if r.Answered.IsZero() || r.Ended.IsZero() {
		return 0
	}
	return r.Ended.Sub(r.Answered).Round(time.Millisecond)
}

func address(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func codecs(list string) []string {
	if list == "" {
		return []string{}
	}
	return strings.Split(list, ",")
}

func (c *cli) recordCommand() *cobra.Command {
	group := &cobra.Command{Use: "record", Short: "What stays of calls"}
	var newest int
	list := &cobra.Command{
		Use:   "list",
		Short: "List the calls in the order of their starts, those that are still up among them",
		Args:  cobra.NoArgs,
	}
	list.Flags().IntVar(&newest, "newest", 0, "only the newest `N`")
	run := c.stored(func(ctx context.Context, s *store.Store, _ []string) error {
		all, err := s.Records(ctx, newest)
		if err != nil {
			return err
		}
		return c.printRecords(all)
	})
	list.RunE = func(cmd *cobra.Command, args []string) error {
		if newest < 0 {
			return usagef("--newest %d: a number from 1 on", newest)
		}
		return run(cmd, args)
	}
	group.AddCommand(list)
	return group
}

func (c *cli) printRecords(all []call.Record) error {
	if c.json {
		result := make([]recordResult, len(all))
		for i := range all {
			result[i] = newRecordResult(&all[i])
		}
		return c.printJSON(result)
	}
	rows := make([][]string, len(all))
	for i := range all {
		r := &all[i]
		length, status := "", ""
		if !r.Answered.IsZero() && !r.Open() {
			length = duration(r).Round(time.Second).String()
		}
		if r.Status != 0 {
			status = fmt.Sprint(r.Status)
		}
		path, _, _ := strings.Cut(r.Media, ":")
		rows[i] = []string{moment(r.Started).String(), string(r.Caller), r.Dialled, string(r.Callee), length, status, r.Cause, string(r.EndedBy), r.Agreed, path, r.ID}
	}
	return c.printTable("STARTED CALLER DIALLED CALLEE LENGTH STATUS CAUSE ENDED_BY CODECS MEDIA ID", rows)
}
