package account

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"liaison/internal/digest"
	"liaison/internal/sip"
)

const (
	md5Name = "algorithm=MD5"
	shaName = "algorithm=SHA-256"
)

func request(t testing.TB, method string, lines ...string) *sip.Message {
	t.Helper()
	text := method + " sip:liaison.example SIP/2.0\r\n" +
		"Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n" +
		"From: <sip:45675001@liaison.example>;tag=1\r\n" +
		"To: <sip:45675001@liaison.example>\r\n" +
		"Call-ID: 1\r\nCSeq: 1 " + method + "\r\nMax-Forwards: 70\r\n"
	for _, l := range lines {
		text += l + "\r\n"
	}
	m := new(sip.Message)
	if err := m.Parse([]byte(text + "Content-Length: 0\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	return m
}

// challenges are the values of the challenge lines of a refusal.
func challenges(t testing.TB, err *sip.Error) []string {
	t.Helper()
	if err == nil {
		t.Fatal("accepted")
		return nil
	}
	name := map[int]string{401: "WWW-Authenticate: ", 407: "Proxy-Authenticate: "}[err.Status]
	var values []string
	for l := range strings.Lines(string(err.Headers)) {
		v, ok := strings.CutPrefix(strings.TrimSuffix(l, "\r\n"), name)
		if name == "" || !ok {
			t.Fatalf("%d has the line %q", err.Status, l)
		}
		values = append(values, v)
	}
	return values
}

type fixture struct {
	*Authenticator
	now time.Time
}

func newFixture(algorithms ...digest.Algorithm) *fixture {
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	d := NewDirectory()
	d.Set(
		Account{Number: "45675001", Hashes: digest.Hash("45675001", "liaison", "secret")},
		Account{Number: "45675002", Hashes: digest.Hash("45675002", "liaison", "other"), Locked: true},
		Account{Number: "45675003", Hashes: digest.Hash("45675003@liaison.example", "liaison", "secret")},
	)
	return &fixture{NewAuthenticator("liaison", algorithms, digest.NewNonces(now, 0), d), now}
}

// answer takes the challenge that stands at i and answers it.
func (f *fixture) answer(t testing.TB, method string, i int, user, password string, nc uint32) string {
	t.Helper()
	_, err := f.Authenticate(request(t, method), f.now)
	c, perr := digest.ParseChallenge([]byte(challenges(t, err)[i]))
	if perr != nil {
		t.Fatal(perr)
	}
	return c.Answer(user, password, method, "sip:liaison.example", "0a4f113b", nc)
}

func TestChallengeOffersEachAlgorithmOnALineInOrder(t *testing.T) {
	for _, row := range []struct {
		offered []digest.Algorithm
		want    []string
	}{
		{[]digest.Algorithm{digest.MD5}, []string{md5Name}},
		{[]digest.Algorithm{digest.SHA256, digest.MD5}, []string{shaName, md5Name}},
	} {
		f := newFixture(row.offered...)
		for method, status := range map[string]int{"REGISTER": 401, "INVITE": 407, "MESSAGE": 407} {
			_, err := f.Authenticate(request(t, method), f.now)
			got := challenges(t, err)
			if err.Status != status || len(got) != len(row.want) || !errors.Is(err, ErrNoCredentials) {
				t.Fatalf("%s: %v with %q", method, err, got)
			}
			for i, want := range row.want {
				if !strings.Contains(got[i], want) || !strings.Contains(got[i], `realm="liaison"`) || strings.Contains(got[i], "stale") {
					t.Errorf("%s: line %d is %q, want %s", method, i, got[i], want)
				}
			}
		}
	}
}

func TestAuthenticate(t *testing.T) {
	both := []digest.Algorithm{digest.SHA256, digest.MD5}
	for _, row := range []struct {
		name    string
		offered []digest.Algorithm
		method  string
		user    string
		word    string
		line    int    // which challenge is answered
		edit    string // "old>new" in the answer
		status  int    // 0: accepted
		cause   error
	}{
		{name: "the right password registers", method: "REGISTER"},
		{name: "and calls", method: "INVITE"},
		{name: "by the stronger of two algorithms", offered: both, method: "REGISTER"},
		{name: "by the weaker of two algorithms", offered: both, method: "REGISTER", line: 1},
		{name: "number@domain as the user name is the number", method: "REGISTER", user: "45675003@liaison.example"},
		{name: "a wrong password is asked again", method: "REGISTER", word: "guess", status: 401, cause: ErrPassword},
		{name: "an unknown number gets the same", method: "REGISTER", user: "45679999", status: 401, cause: ErrUnknown},
		{name: "a locked account with the right password hears why", method: "REGISTER", user: "45675002", word: "other", status: 403, cause: ErrLocked},
		{name: "a locked account with a wrong password does not", method: "INVITE", user: "45675002", status: 407, cause: ErrPassword},
		{name: "another realm is not ours", method: "INVITE", edit: `realm="liaison">realm="elsewhere"`, status: 407, cause: ErrNoCredentials},
		{name: "another scheme is not ours", method: "INVITE", edit: `Digest >Bearer `, status: 407, cause: ErrNoCredentials},
		{name: "an algorithm nobody knows is refused", method: "INVITE", edit: `algorithm=MD5>algorithm=SHA-512-256`, status: 407, cause: ErrAlgorithm},
		{name: "a known one that is not offered is refused", method: "INVITE", edit: `algorithm=MD5>algorithm=SHA-256`, status: 407, cause: ErrAlgorithm},
		{name: "the weaker one is refused when only the stronger is offered", offered: both[:1], method: "INVITE", edit: `algorithm=SHA-256>algorithm=MD5`, status: 407, cause: ErrAlgorithm},
		{name: "a made-up nonce is refused", method: "INVITE", edit: `nonce=">nonce="x`, status: 407, cause: ErrForgedNonce},
		{name: "credentials for another method are a wrong password", method: "INVITE", edit: `uri="sip:liaison.example">uri="sip:other"`, status: 407, cause: ErrPassword},
		{name: "what cannot be read is refused", method: "INVITE", edit: `username=>username=,`, status: 407, cause: ErrMalformed},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.offered == nil {
				row.offered = both[1:]
			}
			if row.user == "" {
				row.user = "45675001"
			}
			if row.word == "" {
				row.word = "secret"
			}
			f := newFixture(row.offered...)
			value := f.answer(t, row.method, row.line, row.user, row.word, 1)
			if old, edited, ok := strings.Cut(row.edit, ">"); ok {
				if !strings.Contains(value, old) {
					t.Fatalf("%q is not in %q", old, value)
				}
				value = strings.Replace(value, old, edited, 1)
			}
			header := "Proxy-Authorization: "
			if row.method == "REGISTER" {
				header = "Authorization: "
			}
			acc, err := f.Authenticate(request(t, row.method, header+value), f.now)
			if row.status == 0 {
				if err != nil || string(acc.Number) != strings.Split(row.user, "@")[0] {
					t.Fatalf("got %v, %v", acc, err)
				}
				return
			}
			if err == nil || err.Status != row.status || !errors.Is(err, row.cause) {
				t.Fatalf("got %v, want %d because %v", err, row.status, row.cause)
			}
			if row.status != 403 && strings.Contains(challenges(t, err)[0], "stale") {
				t.Error("a stranger is told that the password was right")
			}
		})
	}
}

func TestNonceServesItsTimeAndEachCountOnce(t *testing.T) {
	f := newFixture(digest.MD5)
	first := "Authorization: " + f.answer(t, "REGISTER", 0, "45675001", "secret", 1)
	if _, err := f.Authenticate(request(t, "REGISTER", first), f.now); err != nil {
		t.Fatal(err)
	}
	_, err := f.Authenticate(request(t, "REGISTER", first), f.now)
	if !errors.Is(err, ErrReplay) || !strings.Contains(challenges(t, err)[0], "stale=true") {
		t.Fatalf("a replay is %v", err)
	}
	late := "Authorization: " + f.answer(t, "REGISTER", 0, "45675001", "secret", 1)
	f.now = f.now.Add(digest.DefaultLife + time.Minute)
	_, err = f.Authenticate(request(t, "REGISTER", late), f.now)
	if !errors.Is(err, ErrStaleNonce) || !strings.Contains(challenges(t, err)[0], "stale=true") {
		t.Fatalf("an old nonce is %v", err)
	}
	wrong := "Authorization: " + f.answer(t, "REGISTER", 0, "45675001", "guess", 1)
	f.now = f.now.Add(digest.DefaultLife + time.Minute)
	_, err = f.Authenticate(request(t, "REGISTER", wrong), f.now)
	if !errors.Is(err, ErrPassword) || strings.Contains(challenges(t, err)[0], "stale=true") {
		t.Fatalf("an old nonce with a wrong password is %v", err)
	}
}

func TestOursAreFoundAmongCredentialsForOthers(t *testing.T) {
	f := newFixture(digest.SHA256, digest.MD5)
	ours := f.answer(t, "INVITE", 1, "45675001", "secret", 1)
	m := request(t, "INVITE",
		`Proxy-Authorization: Digest username="a", realm="elsewhere", nonce="b", uri="sip:c", response="d"`,
		`Proxy-Authorization: Basic QWxhZGRpbg==`,
		`Proxy-Authorization: `+strings.Replace(f.answer(t, "INVITE", 0, "45675001", "secret", 1), "SHA-256", "SHA-512-256", 1),
		`Proxy-Authorization: `+ours)
	if acc, err := f.Authenticate(m, f.now); err != nil || acc.Number != "45675001" {
		t.Fatal(acc, err)
	}
}

func TestChallengesOfUnknownNumberAndWrongPasswordDifferOnlyInTheNonce(t *testing.T) {
	f := newFixture(digest.MD5)
	var got []string
	for _, user := range []string{"45675001", "45679999"} {
		_, err := f.Authenticate(request(t, "REGISTER", "Authorization: "+f.answer(t, "REGISTER", 0, user, "guess", 1)), f.now)
		c, perr := digest.ParseChallenge([]byte(challenges(t, err)[0]))
		if perr != nil {
			t.Fatal(perr)
		}
		got = append(got, fmt.Sprint(err.Status, err.Reason, strings.Replace(string(err.Headers), c.Nonce, "", 1)))
	}
	if got[0] != got[1] {
		t.Errorf("%q and %q", got[0], got[1])
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	f := newFixture(digest.MD5)
	b.Run("challenge", func(b *testing.B) {
		b.ReportAllocs()
		m := request(b, "REGISTER")
		for b.Loop() {
			f.Authenticate(m, f.now)
		}
	})
	b.Run("verify", func(b *testing.B) {
		b.ReportAllocs()
		m := request(b, "REGISTER", "Authorization: "+f.answer(b, "REGISTER", 0, "45675001", "guess", 1))
		for b.Loop() {
			f.check(credentials(b, m), "REGISTER", f.now)
		}
	})
}

func credentials(b *testing.B, m *sip.Message) *digest.Credentials {
	c, err := digest.ParseCredentials(m.Header(sip.HeaderAuthorization))
	if err != nil {
		b.Fatal(err)
	}
	return &c
}
