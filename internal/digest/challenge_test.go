package digest

import (
	"strings"
	"testing"
)

func TestAppendChallenge(t *testing.T) {
	for _, row := range []struct {
		name  string
		realm string
		alg   Algorithm
		stale bool
		want  string
	}{
		{"MD5", "liaison", MD5, false, `Digest realm="liaison", nonce="n", algorithm=MD5, qop="auth"`},
		{"SHA-256, stale", "liaison", SHA256, true, `Digest realm="liaison", nonce="n", algorithm=SHA-256, qop="auth", stale=true`},
		{"a realm with a quote", `the "best"`, MD5, false, `Digest realm="the \"best\"", nonce="n", algorithm=MD5, qop="auth"`},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := string(AppendChallenge(nil, row.realm, []byte("n"), row.alg, row.stale))
			if got != row.want {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
			c, err := ParseChallenge([]byte(got))
			if err != nil || c.Realm != row.realm || c.Nonce != "n" || c.Algorithm != row.alg || !c.QOP || c.Stale != row.stale {
				t.Errorf("reads back as %+v, %v", c, err)
			}
		})
	}
}

func TestParseChallenge(t *testing.T) {
	for _, row := range []struct {
		name  string
		value string
		want  Challenge
		err   error
	}{
		{"RFC 3261 20.44", `Digest realm="atlanta.com", domain="sip:boxesbybob.com", qop="auth", nonce="f84f1cec41e6cbe5aea9c8e88d359", opaque="", stale=FALSE, algorithm=MD5`,
			Challenge{Realm: "atlanta.com", Nonce: "f84f1cec41e6cbe5aea9c8e88d359", QOP: true, opaque: true}, nil},
		{"without qop and algorithm", `Digest realm="r",nonce="n"`, Challenge{Realm: "r", Nonce: "n"}, nil},
		{"qop as a list", `Digest realm="r", nonce="n", qop="auth-int, auth"`, Challenge{Realm: "r", Nonce: "n", QOP: true}, nil},
		{"a quoted stale", `digest realm="r", nonce="n", stale="True"`, Challenge{Realm: "r", Nonce: "n", Stale: true}, nil},
		{"only auth-int", `Digest realm="r", nonce="n", qop="auth-int"`, Challenge{}, errNoAuth},
		{"SHA-256-sess", `Digest realm="r", nonce="n", algorithm=SHA-256-sess`, Challenge{}, ErrAlgorithm},
		{"no nonce", `Digest realm="r"`, Challenge{}, errMissing},
		{"two nonces", `Digest realm="r", nonce="n", nonce="m"`, Challenge{}, errDuplicate},
		{"a header hidden in the realm", "Digest realm=\"r\r\nTo: x\", nonce=\"n\"", Challenge{}, errSyntax},
		{"another scheme", `Bearer realm="r"`, Challenge{}, ErrScheme},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := ParseChallenge([]byte(row.value))
			if err != row.err || got != row.want {
				t.Errorf("got %+v, %v, want %+v, %v", got, err, row.want, row.err)
			}
		})
	}
}

func TestChoose(t *testing.T) {
	const (
		md5    = `Digest realm="md5", nonce="n", qop="auth", algorithm=MD5`
		sha    = `Digest realm="sha", nonce="n", qop="auth", algorithm=SHA-256`
		sha512 = `Digest realm="sha512", nonce="n", qop="auth", algorithm=SHA-512-256`
		noQOP  = `Digest realm="noqop", nonce="n"`
		basic  = `Basic realm="basic"`
	)
	for _, row := range []struct {
		name   string
		values []string
		realm  string
		err    error
	}{
		{"SHA-256 above MD5, as RFC 8760 2.3 lists them", []string{sha, md5}, "sha", nil},
		{"SHA-256 although it comes second", []string{md5, sha}, "sha", nil},
		{"what is too strong is passed over", []string{sha512, md5}, "md5", nil},
		{"qop rather than none", []string{noQOP, md5}, "md5", nil},
		{"the first of equals", []string{md5, strings.Replace(md5, `"md5"`, `"other"`, 1)}, "md5", nil},
		{"another scheme is passed over", []string{basic, noQOP}, "noqop", nil},
		{"none that can be answered", []string{basic, sha512}, "", ErrScheme},
		{"no challenge", nil, "", errMissing},
	} {
		t.Run(row.name, func(t *testing.T) {
			var values [][]byte
			for _, v := range row.values {
				values = append(values, []byte(v))
			}
			c, err := Choose(values...)
			if c.Realm != row.realm || err != row.err {
				t.Errorf("chose %q, %v, want %q, %v", c.Realm, err, row.realm, row.err)
			}
		})
	}
}

func TestAnswer(t *testing.T) {
	c := Challenge{
		Realm: "http-auth@example.org", Nonce: "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", QOP: true,
		Opaque: "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS", opaque: true,
	}
	const cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
	got := c.Answer("Mufasa", "Circle of Life", "GET", "/dir/index.html", cnonce, 1)
	want := `Digest username="Mufasa", realm="http-auth@example.org", nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", ` +
		`uri="/dir/index.html", response="` + rfc7616MD5 + `", algorithm=MD5, cnonce="` + cnonce + `", qop=auth, nc=00000001, ` +
		`opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	c.Algorithm = SHA256
	if got := c.Answer("Mufasa", "Circle of Life", "GET", "/dir/index.html", cnonce, 1); !strings.Contains(got, rfc7616SHA256) {
		t.Errorf("SHA-256: %s", got)
	}
	c = Challenge{Realm: "testrealm@host.com", Nonce: "dcd98b7102dd2f0e8b11d0f600bfb0c093"}
	want = `Digest username="Mufasa", realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", ` +
		`uri="/dir/index.html", response="1949323746fe6a43ef61f9606e7febea", algorithm=MD5`
	if got := c.Answer("Mufasa", "CircleOfLife", "GET", "/dir/index.html", cnonce, 1); got != want {
		t.Errorf("without qop\ngot  %s\nwant %s", got, want)
	}
}

func FuzzParseChallenge(f *testing.F) {
	f.Add(`Digest realm="liaison", nonce="n", algorithm=MD5, qop="auth"`)
	f.Add(`Digest realm="a\"b\\c", nonce="", opaque="", algorithm=SHA-256, stale=true`)
	f.Fuzz(func(t *testing.T, value string) {
		c, err := ParseChallenge([]byte(value))
		if err != nil {
			return
		}
		// Whatever can be read can be answered, and the answer is right and one line.
		answer := c.Answer("45675001", "secret", "REGISTER", "sip:liaison", "c", 7)
		if strings.ContainsAny(answer, "\r\n\x00") {
			t.Fatalf("%q", answer)
		}
		cred, err := ParseCredentials([]byte(answer))
		if err != nil {
			t.Fatalf("%q: %v", answer, err)
		}
		h := Hash("45675001", c.Realm, "secret")
		if !cred.Verify(&h, "REGISTER") || string(cred.Nonce) != c.Nonce || string(cred.Realm) != c.Realm || string(cred.Opaque) != c.Opaque {
			t.Fatalf("%q answered by %q", value, answer)
		}
	})
}
