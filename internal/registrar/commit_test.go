package registrar

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"liaison/internal/account"
)

func TestAnswerLeavesAfterTheCommit(t *testing.T) {
	onBench(t, func(b *bench) {
		b.store.set(nil, 50*time.Millisecond)
		a := b.send(home, alice, "Contact: <sip:a@10.0.0.7>")
		b.sleep(40 * time.Millisecond)
		b.want(short(a), "none yet")
		b.want(b.lookup(alice), "")
		b.sleep(20 * time.Millisecond)
		b.want(short(a), "200\nContact: <sip:a@10.0.0.7>;expires=300")
		b.want(b.lookup(alice), "sip:a@10.0.0.7 via udp 198.51.100.7:5060 unproven 5m0s")
	})
}

func TestWhatGathersDuringACommitSharesTheNext(t *testing.T) {
	onBench(t, func(b *bench) {
		b.store.set(nil, 50*time.Millisecond)
		for i := range 100 {
			b.send(fmt.Sprintf("udp 198.51.100.7:%d", 6000+i), fmt.Sprint(45675001+i), "Contact: <sip:a@10.0.0.7>")
			synctest.Wait()
		}
		b.sleep(time.Second)
		var sizes []int
		for _, g := range b.store.groups {
			sizes = append(sizes, len(g))
		}
		b.want(fmt.Sprint(sizes), "[1 99]")
	})
}

func TestRefreshIsToldFromANewRow(t *testing.T) {
	onBench(t, func(b *bench) {
		b.register(home, alice, "Contact: <sip:a@10.0.0.7>")
		b.register(home, alice, "CSeq: 2 REGISTER", "Contact: <sip:a@10.0.0.7>")
		b.register(home, alice, "CSeq: 3 REGISTER", "User-Agent: Codec/2", "Contact: <sip:a@10.0.0.7>")
		b.register(home, alice, "CSeq: 4 REGISTER", "User-Agent: Codec/2", "Contact: <sip:a@10.0.0.7>")
		b.register("udp 198.51.100.7:7777", alice, "CSeq: 5 REGISTER", "User-Agent: Codec/2", "Contact: <sip:a@10.0.0.7>")
		b.register("udp 203.0.113.9:5060", alice, "Call-ID: two", "Contact: <sip:b@10.0.0.1>")
		var kinds []string
		ids := make(map[int64]bool)
		for _, g := range b.store.groups {
			for _, c := range g {
				kinds = append(kinds, c.Kind.String())
				ids[c.Binding.ID] = true
				if c.Binding.AOR != alice {
					b.Errorf("a change of %q", c.Binding.AOR)
				}
			}
		}
		b.want(strings.Join(kinds, " "), "added refreshed added refreshed added removed added")
		if len(ids) != 2 {
			b.Errorf("IDs %v, want two", ids)
		}
	})
}

func TestFailedCommit(t *testing.T) {
	onBench(t, func(b *bench) {
		b.register(home, alice, "Contact: <sip:a@10.0.0.7>")
		b.store.set(errDisk, 0)
		a := b.send(home, alice, "CSeq: 2 REGISTER", "Expires: 3600", "Contact: <sip:a@10.0.0.7>")
		b.sleep(time.Second)
		status, text := a.get()
		if status != 503 {
			b.Fatalf("status %d", status)
		}
		tag := strings.Index(text, "To: <sip:45675001@sip.example.org>;tag=") + len("To: <sip:45675001@sip.example.org>;tag=")
		b.want(strings.ReplaceAll(text, "\r\n", "\n"), `SIP/2.0 503 Service Unavailable
Via: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bK1;received=198.51.100.7;rport=5060
From: <sip:45675001@sip.example.org>;tag=a
To: <sip:45675001@sip.example.org>;tag=`+text[tag:tag+12]+`
Call-ID: one@198.51.100.7
CSeq: 2 REGISTER
Retry-After: 5
Content-Length: 0

`)
		b.want(b.lookup(alice), "sip:a@10.0.0.7 via udp 198.51.100.7:5060 unproven 4m59s")
		if !strings.Contains(b.log.String(), "level=ERROR") || !strings.Contains(b.log.String(), "disk full") {
			b.Errorf("the log does not say so:\n%s", b.log)
		}

		b.store.set(nil, 0)
		b.want(b.register(home, alice, "CSeq: 2 REGISTER", "Expires: 3600", "Contact: <sip:a@10.0.0.7>"), "200\nContact: <sip:a@10.0.0.7>;expires=3600")
	})
}

func TestSecondRegisterDuringACommit(t *testing.T) {
	refresh := do("CSeq: 2 REGISTER", "Contact: <sip:a@10.0.0.7>;expires=600")
	tests := []struct {
		sentence      string
		fail          bool
		second        []string
		first, answer string
		bound         string
	}{
		{"is judged by what the first will leave", false, refresh,
			"200\nContact: <sip:a@10.0.0.7>;expires=300", "200\nContact: <sip:a@10.0.0.7>;expires=600",
			"sip:a@10.0.0.7 via udp 198.51.100.7:5060 unproven 9m59s"},
		{"fails with the first", true, refresh, "503\nRetry-After: 5", "503\nRetry-After: 5", ""},
		{"is out of order at once", false, do("CSeq: 0 REGISTER", "Contact: <sip:a@10.0.0.7>"),
			"200\nContact: <sip:a@10.0.0.7>;expires=300", "500",
			"sip:a@10.0.0.7 via udp 198.51.100.7:5060 unproven 4m59s"},
		{"may remove what the first adds", false, do("CSeq: 2 REGISTER", "Contact: *", "Expires: 0"),
			"200\nContact: <sip:a@10.0.0.7>;expires=300", "200", ""},
		{"is answered after the commit when it only repeats the first", false, do("Contact: <sip:a@10.0.0.7>"),
			"200\nContact: <sip:a@10.0.0.7>;expires=300", "200\nContact: <sip:a@10.0.0.7>;expires=300",
			"sip:a@10.0.0.7 via udp 198.51.100.7:5060 unproven 4m59s"},
		{"is not answered 200 when it only repeats a first that fails", true, do("Contact: <sip:a@10.0.0.7>"),
			"503\nRetry-After: 5", "503\nRetry-After: 5", ""},
		{"sees only what is safe when it asks", false, do("CSeq: 2 REGISTER"),
			"200\nContact: <sip:a@10.0.0.7>;expires=300", "200",
			"sip:a@10.0.0.7 via udp 198.51.100.7:5060 unproven 4m59s"},
	}
	for _, test := range tests {
		t.Run(test.sentence, func(t *testing.T) {
			onBench(t, func(b *bench) {
				var err error
				if test.fail {
					err = errDisk
				}
				b.store.set(err, 50*time.Millisecond)
				first := b.send(home, alice, "Contact: <sip:a@10.0.0.7>")
				synctest.Wait()
				second := b.send(home, alice, test.second...)
				synctest.Wait()
				b.store.set(nil, 0) // the second commit would do
				b.want(short(first), "none yet")
				b.sleep(time.Second)
				b.want(short(first), test.first)
				b.want(short(second), test.answer)
				b.want(b.lookup(alice), test.bound)
				for i := range b.r.table.stripes {
					if n := len(b.r.table.stripes[i].pending); n != 0 {
						b.Errorf("%d accounts still pending", n)
					}
				}
				if n, m := b.r.Bindings(), len(b.store.stored()); n != m {
					b.Errorf("%d bindings in memory, %d stored", n, m)
				}
			})
		})
	}
}

func TestQueueIsBounded(t *testing.T) {
	onBench(t, func(b *bench) {
		b.store.set(nil, time.Second)
		var answers []*answer
		for i := range maxQueued + 100 {
			answers = append(answers, b.send(home, fmt.Sprint(10000000+i), "Contact: <sip:a@10.0.0.7>"))
			if i == 0 {
				synctest.Wait()
			}
		}
		refused := 0
		for _, a := range answers {
			if status, _ := a.get(); status == 503 {
				refused++
				b.want(short(a), "503\nRetry-After: 5")
			}
		}
		if refused != 99 { // one is being committed
			b.Errorf("%d refused, want 99", refused)
		}
		b.store.set(nil, 0)
		b.sleep(10 * time.Second)
		if b.r.Bindings() != maxQueued+1 {
			b.Errorf("%d bindings", b.r.Bindings())
		}
	})
}

func TestCommitThatHangsIsGivenUp(t *testing.T) {
	onBench(t, func(b *bench) {
		b.store.set(nil, time.Hour)
		a := b.send(home, alice, "Contact: <sip:a@10.0.0.7>")
		b.sleep(saveTimeout + time.Second)
		b.want(short(a), "503\nRetry-After: 5")
		b.store.set(nil, 0)
	})
}

func TestEndCommitsWhatWasAccepted(t *testing.T) {
	onBench(t, func(b *bench) {
		b.store.set(nil, 100*time.Millisecond)
		first := b.send(home, alice, "Contact: <sip:a@10.0.0.7>")
		synctest.Wait()
		second := b.send(home, "45675002", "Contact: <sip:b@10.0.0.7>")
		b.stop()
		b.want(short(first), "200\nContact: <sip:a@10.0.0.7>;expires=300")
		b.want(short(second), "200\nContact: <sip:b@10.0.0.7>;expires=300")
		b.want(b.register(home, "45675003", "Contact: <sip:c@10.0.0.7>"), "503\nRetry-After: 5")
	})
}

func TestRestart(t *testing.T) {
	onBench(t, func(b *bench) {
		b.register(home, alice, "User-Agent: Codec/1", "Supported: path", "Path: <sip:198.51.100.7;lr>", `Contact: <sip:a@10.0.0.7>;q=0.5;+sip.instance="<urn:uuid:1>"`)
		b.register("tcp 198.51.100.8:41000 #7", "45675002", "Contact: <sip:b@10.0.0.8>")
		b.register("udp [2001:db8::7]:5060", "45675003", "Contact: <sip:c@[2001:db8::7]>;expires=60")
		before := b.r.Lookup(alice, nil)[0]
		b.restart()
		after := b.r.Lookup(alice, nil)[0]
		after.Seen, before.Seen = time.Time{}, time.Time{}
		if before != after {
			b.Errorf("got  %+v\nwant %+v", after, before)
		}
		b.want(b.lookup("45675002"), "sip:b@10.0.0.8 via tcp 198.51.100.8:41000 unreachable 5m0s")
		b.want(b.lookup("45675003"), "sip:c@[2001:db8::7] via udp [2001:db8::7]:5060 unproven 1m0s")
		b.want(b.register(home, alice, "CSeq: 1 REGISTER", "Supported: path", "Path: <sip:198.51.100.7;lr>", `Contact: <sip:a@10.0.0.7>;q=0.5;+sip.instance="<urn:uuid:1>"`),
			"200\n"+`Contact: <sip:a@10.0.0.7>;expires=300;q=0.500;+sip.instance="<urn:uuid:1>"`+"\nPath: <sip:198.51.100.7;lr>")
		b.want(b.register("tcp 198.51.100.8:41002 #1", "45675002", "CSeq: 2 REGISTER", "Contact: <sip:b@10.0.0.8>"), "200\nContact: <sip:b@10.0.0.8>;expires=300")
		b.want(b.lookup("45675002"), "sip:b@10.0.0.8 via tcp 198.51.100.8:41002 unproven 5m0s")

		b.stop()
		b.sleep(2 * time.Minute)
		b.start()
		b.want(b.lookup("45675003"), "")
		for _, row := range b.store.stored() {
			if row.AOR == "45675003" {
				b.Error("an expired row was kept over the start")
			}
		}
	})
}

func TestRemove(t *testing.T) {
	tests := []struct {
		sentence string
		err      error
		rows     int
	}{
		{"ends all bindings of the account", nil, 0},
		{"does so in memory even if the database is away", errDisk, 2},
	}
	for _, test := range tests {
		t.Run(test.sentence, func(t *testing.T) {
			onBench(t, func(b *bench) {
				b.register(home, alice, "Contact: <sip:a@10.0.0.7>, <sip:b@10.0.0.7>")
				b.store.set(test.err, 0)
				b.r.Remove(alice)
				b.r.Remove("45675002")
				b.sleep(time.Second)
				b.want(b.lookup(alice), "")
				if n := len(b.store.stored()); n != test.rows || b.r.Bindings() != 0 {
					b.Errorf("%d rows, %d bindings left", n, b.r.Bindings())
				}
				if !strings.Contains(b.log.String(), "by=service") {
					b.Errorf("the log does not say so:\n%s", b.log)
				}
			})
		})
	}
}

func TestCurrent(t *testing.T) {
	onBench(t, func(b *bench) {
		b.register(home, alice, "Contact: <sip:a@10.0.0.7>;expires=60")
		rows := []struct {
			number account.Number
			from   string
			want   bool
		}{
			{alice, home, true}, {alice, "udp 198.51.100.7:5061", false}, {alice, "tcp 198.51.100.7:5060 #1", false}, {"45675002", home, false},
		}
		for _, row := range rows {
			if got := b.r.Current(row.number, flowFrom(row.from)); got != row.want {
				b.Errorf("%s from %s: %t", row.number, row.from, got)
			}
		}
		b.sleep(time.Minute)
		if b.r.Current(alice, flowFrom(home)) {
			b.Error("a binding that has run out is no proof")
		}
	})
}

func TestCommitOfUnknownEnd(t *testing.T) {
	t.Run("a refresh after it writes the whole row", func(t *testing.T) {
		onBench(t, func(b *bench) {
			b.register(home, alice, "Contact: <sip:a@10.0.0.7>")
			b.store.set(errDisk, 0)
			b.want(b.register(home, alice, "CSeq: 2 REGISTER", "Contact: *", "Expires: 0"), "503\nRetry-After: 5")
			b.store.set(nil, 0)
			clear(b.store.rows) // it was done all the same
			b.register(home, alice, "CSeq: 3 REGISTER", "Contact: <sip:a@10.0.0.7>")
			b.register(home, alice, "CSeq: 4 REGISTER", "Contact: <sip:a@10.0.0.7>")
			b.want(fmt.Sprint(len(b.store.stored()), len(b.fresh), b.store.groups[2][0].Kind), "1 3 refreshed")
		})
	})
	t.Run("of two rows of one contact the newer is loaded", func(t *testing.T) {
		onBench(t, func(b *bench) {
			b.register(home, alice, "Contact: <sip:a@10.0.0.7>")
			for _, row := range b.store.stored() {
				row.ID, row.CSeq = row.ID+1, 9
				b.store.rows[row.ID] = row
			}
			b.restart()
			if l := b.r.Lookup(alice, nil); len(l) != 1 || l[0].CSeq != 9 || b.r.Bindings() != 1 || len(b.store.stored()) != 1 {
				b.Errorf("loaded %+v, %d rows", l, len(b.store.stored()))
			}
		})
	})
}

func TestExpiryWaitsForACommit(t *testing.T) {
	onBench(t, func(b *bench) {
		b.register(home, alice, "Contact: <sip:a@10.0.0.7>;expires=60")
		b.sleep(58 * time.Second)
		b.store.set(nil, 4*time.Second)
		a := b.send(home, alice, "CSeq: 2 REGISTER", "Contact: <sip:a@10.0.0.7>;expires=600")
		b.sleep(30 * time.Second)
		b.want(short(a), "200\nContact: <sip:a@10.0.0.7>;expires=600")
		b.want(b.lookup(alice), "sip:a@10.0.0.7 via udp 198.51.100.7:5060 unproven 9m30s")
	})
}
