package account

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

func TestUsable(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for name, row := range map[string]struct {
		account Account
		reason  string
		cause   error
	}{
		"an account without limits is usable":            {Account{}, "", nil},
		"a locked account says so":                       {Account{Locked: true}, "Account Locked", ErrLocked},
		"a number that is switched off says so":          {Account{Off: true}, "Number Switched Off", ErrOff},
		"an account is usable from its first moment on":  {Account{ValidFrom: now}, "", nil},
		"an account is not usable before that":           {Account{ValidFrom: now.Add(1)}, "Account Not Yet Valid", ErrNotYetValid},
		"an account is usable until its last moment":     {Account{ValidUntil: now.Add(1)}, "", nil},
		"an account is over when its time has come":      {Account{ValidUntil: now}, "Account Expired", ErrExpired},
		"a locked account that has expired reads locked": {Account{Locked: true, ValidUntil: now}, "Account Locked", ErrLocked},
	} {
		t.Run(name, func(t *testing.T) {
			err := row.account.Usable(now)
			if row.reason == "" {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			if err == nil || err.Status != 403 || err.Reason != row.reason || !errors.Is(err, row.cause) {
				t.Fatalf("got %+v, want 403 %s", err, row.reason)
			}
		})
	}
}

func TestParseNumber(t *testing.T) {
	for s, want := range map[string]string{
		"45675001":              "",
		"1":                     "",
		"00334567":              "",
		strings.Repeat("9", 32): "",
		"":                      "empty",
		strings.Repeat("9", 33): "longer than 32 digits",
		"4567 5001":             "something else than the digits",
		"+33123":                "something else than the digits",
		"٤٥٦٧":                  "something else than the digits",
	} {
		n, err := ParseNumber(s)
		if want == "" && (err != nil || string(n) != s) {
			t.Errorf("%q: %q, %v", s, n, err)
		}
		if want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: error %v, want one with %q", s, err, want)
		}
	}
}

func TestKindsAreReadAsTheyAreWritten(t *testing.T) {
	for k := Premium; k <= Temporary; k++ {
		if got, err := ParseKind(k.String()); err != nil || got != k {
			t.Errorf("%v: %v, %v", k, got, err)
		}
	}
	if _, err := ParseKind("gold"); err == nil || !strings.Contains(err.Error(), `"gold"`) {
		t.Errorf("error %v does not name the kind", err)
	}
}

func TestSequence(t *testing.T) {
	first := func(kind Kind, last int) (n Number) {
		for _, n := range Sequence("4567", kind, last) {
			return n
		}
		return ""
	}
	for _, row := range []struct {
		kind Kind
		last int
		want Number
	}{
		{Premium, 0, "45675001"},
		{Premium, 5001, "45675002"},
		{Mobile, 5412, "45675413"},
		{Hunt, 0, "45676001"},
		{Hunt, 6001, "45676002"},
		{Premium, 5998, "45675999"},
		{Premium, 5999, ""},
		{Factory, 0, ""},
	} {
		if got := first(row.kind, row.last); got != row.want {
			t.Errorf("%v after %d: %q, want %q", row.kind, row.last, got, row.want)
		}
	}
	if err := SequenceFull("4567", Premium); !strings.Contains(err.Error(), "45675001 to 45675999") {
		t.Error(err)
	}
}

func TestPrefixes(t *testing.T) {
	for p, want := range map[string]string{
		"4567": "", "2000": "", "9999": "",
		"456": "not four digits", "45678": "not four digits", "45a7": "not four digits", "": "not four digits",
		"1500": "factory range", "0123": "begins with 0",
	} {
		err := ParsePrefix(p)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", p, err, want)
		}
	}
	p, err := FreePrefix(func(p string) bool { return p < "2003" })
	if err != nil || p != "2003" {
		t.Errorf("first free: %q, %v", p, err)
	}
	if _, err := FreePrefix(func(string) bool { return true }); err == nil {
		t.Error("a prefix though all are taken")
	}
}

func TestNewPassword(t *testing.T) {
	if bits := passwordLen * math.Log2(float64(len(passwordAlphabet))); bits < 70 {
		t.Errorf("%.1f bits are too few", bits)
	}
	seen := map[string]bool{}
	for range 1000 {
		p := NewPassword()
		if len(p) != passwordLen || strings.Trim(p, passwordAlphabet) != "" || seen[p] {
			t.Fatalf("%q", p)
		}
		seen[p] = true
		if err := CheckPassword(p); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCheckPassword(t *testing.T) {
	for s, good := range map[string]bool{
		"x": true, "with space": true, "é:\"\\": true,
		"": false, "a\nb": false, "\x1b[2J": false, "\xff": false, strings.Repeat("a", 129): false,
	} {
		if err := CheckPassword(s); (err == nil) != good {
			t.Errorf("%q: %v", s, err)
		}
	}
}
