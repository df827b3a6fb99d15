package digest

import (
	"encoding/hex"
	"strings"
	"testing"
)

// rfc7616 is the credentials of RFC 7616 3.9.1, of either algorithm.
func rfc7616(algorithm, response string) string {
	return `Digest username="Mufasa",
    realm="http-auth@example.org",
    uri="/dir/index.html",
    algorithm=` + algorithm + `,
    nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
    nc=00000001,
    cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
    qop=auth,
    response="` + response + `",
    opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"`
}

const (
	rfc7616MD5    = "8ca523f5e9506fed4657c9700eebdbec"
	rfc7616SHA256 = "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"
)

func TestVerify(t *testing.T) {
	mufasa := Hash("Mufasa", "http-auth@example.org", "Circle of Life")
	old := Hash("Mufasa", "testrealm@host.com", "Circle Of Life")
	oldest := Hash("Mufasa", "testrealm@host.com", "CircleOfLife")
	md5Only := mufasa
	md5Only.HasSHA256, md5Only.SHA256 = false, [32]byte{}

	rfc2617 := `Digest username="Mufasa", realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093",
		uri="/dir/index.html", qop=auth, nc=00000001, cnonce="0a4f113b",
		response="6629fae49393a05397450978507c4ef1", opaque="5ccc069c403ebaf9f0171e9517f40e41"`
	rfc2069 := `Digest username="Mufasa", realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093",
		uri="/dir/index.html", response="1949323746fe6a43ef61f9606e7febea", opaque="5ccc069c403ebaf9f0171e9517f40e41"`
	cut := func(s string, parts ...string) string {
		for _, p := range parts {
			if !strings.Contains(s, p) {
				t.Fatalf("row lacks %q", p)
			}
			s = strings.Replace(s, p, "", 1)
		}
		return s
	}
	swap := func(s, from, to string) string { return strings.Replace(cut(s, from)[:0]+s, from, to, 1) }

	for _, row := range []struct {
		name   string
		value  string
		hashes Hashes
		method string
		want   bool
	}{
		{"RFC 7616 3.9.1 with MD5", rfc7616("MD5", rfc7616MD5), mufasa, "GET", true},
		{"RFC 7616 3.9.1 with SHA-256", rfc7616("SHA-256", rfc7616SHA256), mufasa, "GET", true},
		{"RFC 2617 3.5: qop, no algorithm", rfc2617, old, "GET", true},
		{"RFC 2069 2.4 as corrected: no qop", rfc2069, oldest, "GET", true},
		{"an upper-case response", rfc7616("md5", strings.ToUpper(rfc7616MD5)), mufasa, "GET", true},
		{"a quoted qop, nc and algorithm", swap(swap(swap(rfc7616("MD5", rfc7616MD5), "qop=auth", `qop="auth"`), "nc=00000001", `nc="00000001"`), "algorithm=MD5", `algorithm="MD5"`), mufasa, "GET", true},
		{"another method", rfc7616("MD5", rfc7616MD5), mufasa, "PUT", false},
		{"another uri", swap(rfc7616("MD5", rfc7616MD5), "/dir/index.html", "/dir/index.htm"), mufasa, "GET", false},
		{"another nonce count: the same response replayed", swap(rfc7616("MD5", rfc7616MD5), "nc=00000001", "nc=00000002"), mufasa, "GET", false},
		{"another nonce", swap(rfc7616("MD5", rfc7616MD5), "7ypf", "8ypf"), mufasa, "GET", false},
		{"another password", rfc7616("MD5", rfc7616MD5), Hash("Mufasa", "http-auth@example.org", "circle of life"), "GET", false},
		{"one digit of the response off", rfc7616("MD5", "9"+rfc7616MD5[1:]), mufasa, "GET", false},
		{"the response cut short", rfc7616("MD5", rfc7616MD5[:30]), mufasa, "GET", false},
		{"an empty response", rfc7616("MD5", ""), mufasa, "GET", false},
		{"a response of the other algorithm", rfc7616("SHA-256", rfc7616MD5), mufasa, "GET", false},
		{"downgrade: the response of SHA-256 called MD5", rfc7616("MD5", rfc7616SHA256), mufasa, "GET", false},
		{"downgrade: qop, nc and cnonce taken out", cut(rfc7616("MD5", rfc7616MD5), "qop=auth,", "nc=00000001,", `cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",`), mufasa, "GET", false},
		{"auth-int, which was not offered", swap(rfc7616("MD5", rfc7616MD5), "qop=auth", "qop=auth-int"), mufasa, "GET", false},
		{"SHA-256 where only the MD5 hash is known", rfc7616("SHA-256", rfc7616SHA256), md5Only, "GET", false},
		{"no hash at all is no password", rfc7616("MD5", rfc7616MD5), Hashes{}, "GET", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, err := ParseCredentials([]byte(row.value))
			if err != nil {
				t.Fatal(err)
			}
			if got := c.Verify(&row.hashes, row.method); got != row.want {
				t.Errorf("Verify = %v, want %v", got, row.want)
			}
		})
	}
}

func TestParseCredentials(t *testing.T) {
	const rest = `realm="liaison", nonce="n", uri="sip:liaison", response="0123"`
	for _, row := range []struct {
		name  string
		value string
		user  string // Username, if err is nil
		err   error
	}{
		{"names and scheme in any case", `DIGEST USERNAME="45675001", Realm="liaison", nOnce="n", URI="sip:liaison", rEsponse="0123"`, "45675001", nil},
		{"no space after the commas", strings.ReplaceAll(`Digest username="45675001", `+rest, ", ", ","), "45675001", nil},
		{"white space around everything", "  Digest \t username = \"45675001\" ,\r\n " + rest + "  ", "45675001", nil},
		{"empty list elements", `Digest ,, username="45675001",,` + rest + `,`, "45675001", nil},
		{"values without quotes", `Digest username=45675001, realm=liaison, nonce=n, uri=sip:45675001@liaison:5070;transport=udp, response=0123`, "45675001", nil},
		{"a parameter of which nobody has heard", `Digest username="45675001", auts="", x=y, ` + rest, "45675001", nil},
		{"a comma and an escaped quote inside quotes", `Digest username="a\",\\b", ` + rest, `a",\b`, nil},
		{"an empty user", `Digest username="", ` + rest, "", nil},
		{"another scheme", `Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==`, "", ErrScheme},
		{"a scheme that begins alike", `DigestX username="45675001", ` + rest, "", ErrScheme},
		{"nothing", "", "", ErrScheme},
		{"only the scheme", "Digest", "", ErrScheme},
		{"the scheme and a space", "Digest ", "", errMissing},
		{"a user twice", `Digest username="45675001", Username="45675002", ` + rest, "", errDuplicate},
		{"a uri twice", `Digest username="45675001", uri="sip:other", ` + rest, "", errDuplicate},
		{"no user", `Digest ` + rest, "", errMissing},
		{"no response", `Digest username="45675001", realm="liaison", nonce="n", uri="sip:liaison"`, "", errMissing},
		{"an open quote", `Digest ` + rest + `, username="45675001`, "", errSyntax},
		{"a backslash at the end", `Digest ` + rest + `, username="45675001\`, "", errSyntax},
		{"text after a quoted value", `Digest username="45675001"x, ` + rest, "", errSyntax},
		{"no comma", `Digest username="45675001" ` + rest, "", errSyntax},
		{"a name without a value", `Digest username, ` + rest, "", errSyntax},
		{"a value without a name", `Digest ="45675001", ` + rest, "", errSyntax},
		{"a line end inside quotes", "Digest username=\"4567\r\n 5001\", " + rest, "", errSyntax},
		{"a NUL inside quotes", "Digest username=\"4567\x005001\", " + rest, "", errSyntax},
		{"an escaped line end inside quotes", "Digest username=\"4567\\\n5001\", " + rest, "", errSyntax},
		{"qop without nc", `Digest username="45675001", qop=auth, cnonce="c", ` + rest, "", errQOP},
		{"qop without cnonce", `Digest username="45675001", qop=auth, nc=00000001, ` + rest, "", errQOP},
		{"nc of seven digits", `Digest username="45675001", qop=auth, nc=0000001, cnonce="c", ` + rest, "", errCount},
		{"nc that is no number", `Digest username="45675001", qop=auth, nc=0000000g, cnonce="c", ` + rest, "", errCount},
		{"MD5-sess", `Digest username="45675001", algorithm=MD5-sess, ` + rest, "", ErrAlgorithm},
		{"SHA-512-256, as in RFC 7616 3.9.2", `Digest username="45675001", algorithm=SHA-512-256, ` + rest, "", ErrAlgorithm},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, err := ParseCredentials([]byte(row.value))
			if err != row.err {
				t.Fatalf("error %v, want %v", err, row.err)
			}
			if string(c.Username) != row.user {
				t.Errorf("Username %q, want %q", c.Username, row.user)
			}
			if err == nil && (string(c.Nonce) != "n" || c.HasQOP()) {
				t.Errorf("Nonce %q, QOP %q", c.Nonce, c.QOP)
			}
		})
	}
}

func TestParseCredentialsReadsEveryField(t *testing.T) {
	c, err := ParseCredentials([]byte(strings.Replace(rfc7616("SHA-256", rfc7616SHA256), "00000001", "0000ABcd", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if string(c.Realm) != "http-auth@example.org" || string(c.URI) != "/dir/index.html" || string(c.QOP) != "auth" ||
		c.NC != 0xabcd || c.Algorithm != SHA256 || string(c.Response) != rfc7616SHA256 ||
		string(c.CNonce) != "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ" ||
		string(c.Opaque) != "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS" {
		t.Errorf("%+v", c)
	}
}

func TestHash(t *testing.T) {
	// The H(A1) of RFC 2617 3.5.
	h := Hash("Mufasa", "testrealm@host.com", "Circle Of Life")
	if got := hex.EncodeToString(h.MD5[:]); got != "939e7578ed9e3c518a452acee763bce9" {
		t.Error(got)
	}
}

// An agent authenticates with each request: neither step may allocate.
func TestHotPathDoesNotAllocate(t *testing.T) {
	h := Hash("Mufasa", "http-auth@example.org", "Circle of Life")
	for name, value := range map[string][]byte{
		"MD5":     []byte(rfc7616("MD5", rfc7616MD5)),
		"SHA-256": []byte(rfc7616("SHA-256", rfc7616SHA256)),
	} {
		if n := testing.AllocsPerRun(100, func() {
			c, err := ParseCredentials(value)
			if err != nil || !c.Verify(&h, "GET") {
				t.Fatal("refused")
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	broken := []byte(`Digest username="45675001", username="45675001"`)
	if n := testing.AllocsPerRun(100, func() { ParseCredentials(broken) }); n != 0 {
		t.Errorf("refusing: %v allocations", n)
	}
}

func FuzzParseCredentials(f *testing.F) {
	f.Add(rfc7616("MD5", rfc7616MD5))
	f.Add(rfc7616("SHA-256", rfc7616SHA256))
	f.Add(`Digest username="a\",\\b", realm="", nonce=n,, uri = sip:x;y=z ,response=""`)
	h := Hash("Mufasa", "http-auth@example.org", "Circle of Life")
	f.Fuzz(func(t *testing.T, value string) {
		c, err := ParseCredentials([]byte(value))
		if err != nil {
			return
		}
		c.Verify(&h, "REGISTER")
		// Written again from what was read, it reads the same.
		b := []byte("Digest algorithm=" + c.Algorithm.String())
		for name, v := range map[string][]byte{
			"username": c.Username, "realm": c.Realm, "nonce": c.Nonce, "uri": c.URI, "response": c.Response,
			"cnonce": c.CNonce, "opaque": c.Opaque, "qop": c.QOP, "nc": c.nc,
		} {
			if v != nil {
				b = append(b, ", "+name+"="...)
				b = appendQuoted(b, v)
			}
		}
		d, err := ParseCredentials(b)
		if err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		if string(c.Username) != string(d.Username) || string(c.Realm) != string(d.Realm) || string(c.Nonce) != string(d.Nonce) ||
			string(c.URI) != string(d.URI) || string(c.Response) != string(d.Response) || string(c.CNonce) != string(d.CNonce) ||
			string(c.Opaque) != string(d.Opaque) || string(c.QOP) != string(d.QOP) || c.NC != d.NC || c.Algorithm != d.Algorithm || c.HasQOP() != d.HasQOP() {
			t.Fatalf("%q reads as %+v, written again as %+v", value, c, d)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	h := Hash("Mufasa", "http-auth@example.org", "Circle of Life")
	for _, row := range []struct{ name, value string }{
		{"MD5", rfc7616("MD5", rfc7616MD5)},
		{"SHA-256", rfc7616("SHA-256", rfc7616SHA256)},
	} {
		c, err := ParseCredentials([]byte(row.value))
		if err != nil {
			b.Fatal(err)
		}
		b.Run(row.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !c.Verify(&h, "GET") {
					b.Fatal("refused")
				}
			}
		})
	}
}

func BenchmarkParseCredentials(b *testing.B) {
	value := []byte(rfc7616("MD5", rfc7616MD5))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseCredentials(value); err != nil {
			b.Fatal(err)
		}
	}
}
