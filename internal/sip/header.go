package sip

// HeaderID names a header that the service looks at; all others are HeaderOther and pass untouched.
type HeaderID uint8

// The headers known by name.
const (
	HeaderOther HeaderID = iota
	HeaderVia
	HeaderFrom
	HeaderTo
	HeaderCallID
	HeaderCSeq
	HeaderMaxForwards
	HeaderContact
	HeaderRoute
	HeaderRecordRoute
	HeaderPath
	HeaderExpires
	HeaderMinExpires
	HeaderContentLength
	HeaderContentType
	HeaderAuthorization
	HeaderProxyAuthorization
	HeaderWWWAuthenticate
	HeaderProxyAuthenticate
	HeaderRequire
	HeaderProxyRequire
	HeaderSupported
	HeaderUnsupported
	HeaderAllow
	HeaderUserAgent
	HeaderServer
	HeaderRetryAfter
	HeaderReason
	HeaderDate
	HeaderReferTo
	HeaderPAssertedIdentity
	HeaderPPreferredIdentity
	HeaderRemotePartyID
	HeaderDiversion
	numHeaders
)

// headerNames are the canonical spellings; compactForms the one-letter names (RFC 3261 20, 3515, 6665).
var headerNames = [numHeaders]string{
	HeaderVia:                "Via",
	HeaderFrom:               "From",
	HeaderTo:                 "To",
	HeaderCallID:             "Call-ID",
	HeaderCSeq:               "CSeq",
	HeaderMaxForwards:        "Max-Forwards",
	HeaderContact:            "Contact",
	HeaderRoute:              "Route",
	HeaderRecordRoute:        "Record-Route",
	HeaderPath:               "Path",
	HeaderExpires:            "Expires",
	HeaderMinExpires:         "Min-Expires",
	HeaderContentLength:      "Content-Length",
	HeaderContentType:        "Content-Type",
	HeaderAuthorization:      "Authorization",
	HeaderProxyAuthorization: "Proxy-Authorization",
	HeaderWWWAuthenticate:    "WWW-Authenticate",
	HeaderProxyAuthenticate:  "Proxy-Authenticate",
	HeaderRequire:            "Require",
	HeaderProxyRequire:       "Proxy-Require",
	HeaderSupported:          "Supported",
	HeaderUnsupported:        "Unsupported",
	HeaderAllow:              "Allow",
	HeaderUserAgent:          "User-Agent",
	HeaderServer:             "Server",
	HeaderRetryAfter:         "Retry-After",
	HeaderReason:             "Reason",
	HeaderDate:               "Date",
	HeaderReferTo:            "Refer-To",
	HeaderPAssertedIdentity:  "P-Asserted-Identity",
	HeaderPPreferredIdentity: "P-Preferred-Identity",
	HeaderRemotePartyID:      "Remote-Party-ID",
	HeaderDiversion:          "Diversion",
}

var compactForms = map[byte]HeaderID{
	'v': HeaderVia, 'f': HeaderFrom, 't': HeaderTo, 'i': HeaderCallID, 'm': HeaderContact,
	'l': HeaderContentLength, 'c': HeaderContentType, 'k': HeaderSupported, 'r': HeaderReferTo,
}

// byShape finds a header by the length and the lower-case first letter of its name: at most a few to compare.
var byShape = func() (t [32][26][]HeaderID) {
	for id := HeaderVia; id < numHeaders; id++ {
		n := headerNames[id]
		t[len(n)][lower(n[0])-'a'] = append(t[len(n)][lower(n[0])-'a'], id)
	}
	for c, id := range compactForms {
		t[1][c-'a'] = append(t[1][c-'a'], id)
	}
	return t
}()

func (id HeaderID) String() string {
	if id < numHeaders && id != HeaderOther {
		return headerNames[id]
	}
	return "other"
}

func headerID(name []byte) HeaderID {
	if len(name) == 0 || len(name) >= len(byShape) {
		return HeaderOther
	}
	c := lower(name[0]) - 'a'
	if c >= 26 {
		return HeaderOther
	}
	for _, id := range byShape[len(name)][c] {
		if len(name) == 1 || equalFold(name, headerNames[id]) {
			return id
		}
	}
	return HeaderOther
}

// Header is one header line.
type Header struct {
	ID          HeaderID
	Name, Value []byte
}

// Fold-free ASCII tools: header and parameter names are case-insensitive and ASCII only (RFC 3261 7.3.1).

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + ('a' - 'A')
	}
	return c
}

func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i := range b {
		if b[i] != s[i] && lower(b[i]) != lower(s[i]) {
			return false
		}
	}
	return true
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

func trim(b []byte) []byte {
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isSpace(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

// tokenChar tells the characters of a token (RFC 3261 25.1).
var tokenChar = func() (t [256]bool) {
	for c := '0'; c <= '9'; c++ {
		t[c] = true
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c], t[c-'a'+'A'] = true, true
	}
	for _, c := range "-.!%*_+`'~" {
		t[c] = true
	}
	return t
}()

func isToken(b []byte) bool {
	for _, c := range b {
		if !tokenChar[c] {
			return false
		}
	}
	return len(b) > 0
}

// number reads an unsigned decimal of at most limit; nothing but digits.
func number(b []byte, limit uint64) (uint64, bool) {
	if len(b) == 0 || len(b) > 19 {
		return 0, false
	}
	var n uint64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, n <= limit
}
