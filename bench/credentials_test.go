package main

import (
	"crypto/md5"
	"encoding/hex"
	"strings"
	"testing"
)

// RFC 2617 3.5: the worked example for MD5 with qop=auth.
func TestDigestResponse(t *testing.T) {
	var ha1 [32]byte
	sum := md5.Sum([]byte("Mufasa:testrealm@host.com:Circle Of Life"))
	hex.Encode(ha1[:], sum[:])
	got := digestResponse(&ha1, []byte("dcd98b7102dd2f0e8b11d0f600bfb0c093"), nonceCount(1), "0a4f113b", "GET", []byte("/dir/index.html"))
	if string(got[:]) != "6629fae49393a05397450978507c4ef1" {
		t.Errorf("got %s", got)
	}
}

func TestNonceCountIsEightHexDigits(t *testing.T) {
	for nc, want := range map[uint32]string{1: "00000001", 255: "000000ff", 0xdeadbeef: "deadbeef"} {
		if got := nonceCount(nc); string(got[:]) != want {
			t.Errorf("%d is written as %s", nc, got)
		}
	}
}

func TestCredentialsReadBack(t *testing.T) {
	ha1 := secret("20000000")
	value := appendCredentials(nil, "20000000", &ha1, []byte("n0"), 2, "REGISTER", []byte("sip:127.0.0.1:5060"))
	for name, want := range map[string]string{"username": "20000000", "realm": "liaison", "nonce": "n0", "uri": "sip:127.0.0.1:5060", "nc": "00000002", "qop": "auth", "algorithm": "MD5"} {
		if got := parameter(value, name); string(got) != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if !strings.HasPrefix(string(value), "Digest ") {
		t.Errorf("got %q", value)
	}
}
