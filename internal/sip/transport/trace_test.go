package transport

import "testing"

func TestTracesTellNoSecrets(t *testing.T) {
	got := string(masked([]byte("REGISTER sip:x SIP/2.0\r\nAuthorization: Digest username=\"1\",\r\n response=\"abc\"\r\n" +
		"PROXY-Authorization : Digest response=\"def\"\r\nTo: <sip:1@x>\r\n\r\nv=0\r\na=crypto:1 AES inline:key\r\na=ptime:20\r\n")))
	want := "REGISTER sip:x SIP/2.0\r\nAuthorization: ***\r\nPROXY-Authorization : ***\r\nTo: <sip:1@x>\r\n\r\nv=0\r\na=crypto: ***\r\na=ptime:20\r\n"
	if got != want {
		t.Errorf("%q", got)
	}
}
