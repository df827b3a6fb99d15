package store

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"liaison/internal/account"
)

func TestImport(t *testing.T) {
	const before = `
45675001 premium Radio Lac
45675002 mobile Radio Lac
`
	for _, row := range []struct {
		name   string
		csv    string
		update bool
		want   ImportResult
		after  string // numbers, kinds, subscribers; empty: as before
		err    string
	}{
		{
			name: "columns are found by their names", csv: "password,number\nsecret,45675010\n",
			want:  ImportResult{Added: 1},
			after: before + "45675010 premium Radio Lac\n",
		},
		{
			name: "a byte order mark, semicolons and CRLF are taken", csv: "\ufeffnumber;password;kind\r\n45675010;a,b;hunt\r\n",
			want:  ImportResult{Added: 1},
			after: before + "45675010 hunt Radio Lac\n",
		},
		{
			name: "quoted fields may have the separator", csv: "number,password\n45675010,\"a,\"\"b\"\n",
			want:  ImportResult{Added: 1},
			after: before + "45675010 premium Radio Lac\n",
		},
		{
			name: "a new prefix makes its subscriber", csv: "number,password\n88885001,x\n88885002,x\n888812345678,x\n",
			want:  ImportResult{Added: 3, Subscribers: 1},
			after: before + "888812345678 premium 8888\n88885001 premium 8888\n88885002 premium 8888\n",
		},
		{
			name: "numbers are taken as given", csv: "number,password\n123,x\n15000,x\n10000001,x\n",
			want:  ImportResult{Added: 3, Subscribers: 2},
			after: "\n10000001 premium 1000\n123 premium \n15000 premium 1500\n" + before[1:],
		},
		{
			name: "kinds without a group belong to nobody", csv: "number,password,kind\n15001,x,test\n10000001,x,factory\n",
			want:  ImportResult{Added: 2},
			after: "\n10000001 factory \n15001 test \n" + before[1:],
		},
		{
			name: "a subscriber is named by prefix", csv: "number,password,subscriber\n123,x,4567\n",
			want:  ImportResult{Added: 1},
			after: "\n123 premium Radio Lac\n" + before[1:],
		},
		{
			name: "or by name", csv: "number,password,subscriber\n99995001,x,Radio Lac\n",
			want:  ImportResult{Added: 1},
			after: before + "99995001 premium Radio Lac\n",
		},
		{
			name: "a new prefix in that column makes its subscriber", csv: "number,password,subscriber\n123,x,8888\n",
			want:  ImportResult{Added: 1, Subscribers: 1},
			after: "\n123 premium 8888\n" + before[1:],
		},
		{
			name: "a new name with a new prefix makes its subscriber", csv: "number,password,subscriber\n88885001,x,Radio Val\n88885002,x,Radio Val\n",
			want:  ImportResult{Added: 2, Subscribers: 1},
			after: before + "88885001 premium Radio Val\n88885002 premium Radio Val\n",
		},
		{
			name: "columns that nobody knows are told", csv: "number,password,note\n45675010,x,hello\n",
			want:  ImportResult{Added: 1, Ignored: []string{"note"}},
			after: before + "45675010 premium Radio Lac\n",
		},
		{
			name: "the same again is unchanged", csv: "number,password,kind\n45675001,one,\n45675002,two,mobile\n45675002,two,mobile\n",
			want: ImportResult{Unchanged: 2},
		},
		{
			name: "empty lines are none", csv: "number,password\n\n45675001,one\n\n\n",
			want: ImportResult{Unchanged: 1},
		},
		{
			name: "another password is an error", csv: "number,password\n45675001,one\n45675001,other\n45675002,two\n",
			err: "line 3: the number 45675001 stands in line 2 already, with something else\n" +
				"line 4: the account 45675002 is there already, with the kind mobile and not premium: --update would change it",
		},
		{
			name: "unless it is an update", csv: "number,password,kind,subscriber\n45675001,other,mobile,7777\n45675002,two,mobile,\n", update: true,
			want:  ImportResult{Updated: 1, Unchanged: 1, Subscribers: 1},
			after: "\n45675001 mobile 7777\n45675002 mobile Radio Lac\n",
		},
		{
			name: "every bad row is told and nothing imported",
			csv: "number,password,kind,subscriber\n45675010,x,,\n,x,,\n4567a,x,,\n45675011,,,\n45675012,x,gold,\n45675013,x,,,\n" +
				"45675014,\"x\ny\",,\n45675015,x\"y,,\n45675016,x,,Radio Nowhere\n45675017,x,,\n",
			err: "line 3: the number is empty\n" +
				"line 4: the number \"4567a\" has something else than the digits 0 to 9\n" +
				"line 5: the password is empty\n" +
				"line 6: there is no kind \"gold\": use factory, premium, mobile, hunt, test or temporary\n" +
				"line 7: it has 5 fields, and the header names 4\n" +
				"line 8: the password has a control character\n" +
				"line 10: bare \" in non-quoted-field\n" +
				"line 11: there is no subscriber \"Radio Nowhere\", and the prefix 4567 belongs to \"Radio Lac\"",
		},
		{name: "an empty file is told", csv: "", err: "line 1: the file is empty: its first line must name the columns number and password"},
		{name: "a missing column is told", csv: "number,passwort\n", err: "line 1: the header has no column password: the first line must name the columns, number,password and if you like kind,subscriber"},
		{name: "a file without header is told", csv: "45675010,secret\n", err: "line 1: the header has no column number: the first line must name the columns, number,password and if you like kind,subscriber"},
		{name: "a column that stands twice is told", csv: "number,password,number\n", err: "line 1: the column number stands twice"},
		{name: "a header alone is nothing", csv: "number,password\n", want: ImportResult{}},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newStore(t)
			if _, _, err := s.CreateSubscriber(t.Context(), NewSubscriber{Name: "Radio Lac", Prefix: "4567"}); err != nil {
				t.Fatal(err)
			}
			for _, n := range []NewAccount{{Number: "45675001", Password: "one"}, {Number: "45675002", Password: "two", Kind: account.Mobile}} {
				if _, err := s.AddAccount(t.Context(), n); err != nil {
					t.Fatal(err)
				}
			}
			got, err := s.ImportAccounts(t.Context(), strings.NewReader(row.csv), ImportOptions{Update: row.update})
			if row.err != "" {
				var bad ImportError
				if !errors.As(err, &bad) || err.Error() != row.err {
					t.Errorf("error\n%v\nwant\n%s", err, row.err)
				}
			} else if err != nil {
				t.Fatal(err)
			}
			if row.err == "" && fmt.Sprint(got) != fmt.Sprint(row.want) {
				t.Errorf("%+v, want %+v", got, row.want)
			}
			if row.after == "" {
				row.after = before
			}
			if after := "\n" + numbers(t, s); after != row.after {
				t.Errorf("afterwards %swant %s", after, row.after)
			}
		})
	}
}

func TestImportedPasswordsAreWhatTheFileSays(t *testing.T) {
	s := newStore(t)
	for _, p := range []string{"first", " with space ", "é\"'"} {
		csv := "number,password\n45675001,\"" + strings.ReplaceAll(p, `"`, `""`) + "\"\n"
		if _, err := s.ImportAccounts(t.Context(), strings.NewReader(csv), ImportOptions{Update: true}); err != nil {
			t.Fatal(err)
		}
		checkPassword(t, s, "45675001", p)
	}
}

func TestTheSequenceGoesOnBehindWhatWasImported(t *testing.T) {
	s := newStore(t)
	csv := "number,password,kind\n45675007,x,\n45675003,x,\n45676002,x,hunt\n45679999,x,\n"
	if _, err := s.ImportAccounts(t.Context(), strings.NewReader(csv), ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[account.Kind]account.Number{account.Premium: "45675008", account.Hunt: "45676003"} {
		if c, err := s.AddAccount(t.Context(), NewAccount{Subscriber: "4567", Kind: kind}); err != nil || c.Number != want {
			t.Errorf("%v: %s, %v, want %s", kind, c.Number, err, want)
		}
	}
}

func TestImportTellsItsProgress(t *testing.T) {
	s := newStore(t)
	var steps []string
	_, err := s.ImportAccounts(t.Context(), strings.NewReader(bulk(2500)), ImportOptions{Progress: func(done, total int) {
		steps = append(steps, fmt.Sprintf("%d/%d", done, total))
	}})
	if err != nil || fmt.Sprint(steps) != "[0/2500 1000/2500 2000/2500 2500/2500]" {
		t.Errorf("%v, %v", steps, err)
	}
}

// bulk is a file of n accounts, 900 in a group.
func bulk(n int) string {
	var b strings.Builder
	b.WriteString("number,password\n")
	for i := range n {
		fmt.Fprintf(&b, "%d%04d,secret%d\n", 2000+i/900, 5001+i%900, i)
	}
	return b.String()
}

// TestHundredThousand prints what an import, a second one and a load cost: LIAISON_LARGE=1 go test -v -run HundredThousand
func TestHundredThousandAccounts(t *testing.T) {
	if os.Getenv("LIAISON_LARGE") == "" {
		t.Skip("LIAISON_LARGE is not set")
	}
	s := newStore(t)
	csv := bulk(100_000)
	for _, what := range []string{"import", "the same again"} {
		start := time.Now()
		r, err := s.ImportAccounts(t.Context(), strings.NewReader(csv), ImportOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %v %+v", what, time.Since(start), r)
	}
	start := time.Now()
	d := directory(t, s)
	t.Logf("load: %v, %d accounts", time.Since(start), d.Len())
}
