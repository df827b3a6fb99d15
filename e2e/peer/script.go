//go:build e2e

package peer

import (
	"context"
	"crypto/md5"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"liaison/e2e/lab"
)

// Script is an agent played by the test itself over UDP: what neither softphones nor SIPp can be
// brought to do, such as two answers to one call. It shares no code with the service.
type Script struct {
	Number, Password string

	host   *lab.Host
	conn   net.Conn
	server string
	tag    string
	count  int
	unread []*Message
}

// Message is one received SIP message.
type Message struct {
	Method string // of a request
	Status int    // of a response
	URI    string // of a request
	Text   string

	headers []string // "Name: value", in order
	Body    string
}

// StartScript opens the agent's socket on a host.
func StartScript(t testing.TB, h *lab.Host, server, number, password string) *Script {
	t.Helper()
	conn, err := h.Dial(context.Background(), "udp4", server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &Script{Number: number, Password: password, host: h, conn: conn, server: server, tag: fmt.Sprint(time.Now().UnixNano())}
}

// Local is the agent's address and port.
func (s *Script) Local() string { return s.conn.LocalAddr().String() }

// Send sends a message; lines end as they must, and Content-Length is added.
func (s *Script) Send(t testing.TB, head, body string) {
	t.Helper()
	body = strings.ReplaceAll(body, "\n", "\r\n")
	head = strings.ReplaceAll(strings.TrimRight(head, "\n"), "\n", "\r\n")
	if _, err := fmt.Fprintf(s.conn, "%s\r\nContent-Length: %d\r\n\r\n%s", head, len(body), body); err != nil {
		t.Fatal(err)
	}
}

// Branch is a new one.
func (s *Script) Branch() string {
	s.count++
	return fmt.Sprintf("z9hG4bK%s-%d", s.tag, s.count)
}

// Receive waits for the next message that fits: a request of that method, or a response with that
// status. What does not fit is kept for a later call, but for repeated messages.
func (s *Script) Receive(t testing.TB, what string) *Message {
	t.Helper()
	m, ok := s.Within(Soon, what)
	if !ok {
		var have []string
		for _, m := range s.unread {
			have = append(have, m.Text)
		}
		t.Fatalf("agent %s: no %s within %v; there is\n%s", s.Number, what, Soon, strings.Join(have, "\n"))
	}
	return m
}

// Silent waits that long and wants no such message.
func (s *Script) Silent(t testing.TB, d time.Duration, what string) {
	t.Helper()
	if m, ok := s.Within(d, what); ok {
		t.Errorf("agent %s got what it should not:\n%s", s.Number, m.Text)
	}
}

// Within is Receive with its own limit, and may find nothing.
func (s *Script) Within(d time.Duration, what string) (*Message, bool) {
	fits := func(m *Message) bool { return m.Method == what || strconv.Itoa(m.Status) == what }
	for i, m := range s.unread {
		if fits(m) {
			s.unread = append(s.unread[:i], s.unread[i+1:]...)
			return m, true
		}
	}
	buf := make([]byte, 65536)
	for deadline := time.Now().Add(d); ; {
		_ = s.conn.SetReadDeadline(deadline)
		n, err := s.conn.Read(buf)
		if err != nil {
			return nil, false
		}
		m := parse(string(buf[:n]))
		if m == nil {
			continue
		}
		if fits(m) {
			return m, true
		}
		s.unread = append(s.unread, m)
	}
}

func parse(text string) *Message {
	head, body, _ := strings.Cut(text, "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	first := strings.SplitN(lines[0], " ", 3)
	if len(first) < 3 {
		return nil
	}
	m := &Message{Text: text, headers: lines[1:], Body: body}
	if first[0] == "SIP/2.0" {
		m.Status, _ = strconv.Atoi(first[1])
	} else {
		m.Method, m.URI = first[0], first[1]
	}
	return m
}

// Header is the value of the first header of that name, "" if there is none.
func (m *Message) Header(name string) string {
	if all := m.All(name); len(all) > 0 {
		return all[0]
	}
	return ""
}

// All is the values of all headers of that name.
func (m *Message) All(name string) []string {
	var out []string
	for _, h := range m.headers {
		if n, v, ok := strings.Cut(h, ":"); ok && strings.EqualFold(strings.TrimSpace(n), name) {
			out = append(out, strings.TrimSpace(v))
		}
	}
	return out
}

// Answer sends a response to a request: its Via, From, To with our tag, Call-ID, CSeq and
// Record-Route, and the extra header lines.
func (s *Script) Answer(t testing.TB, m *Message, status, tag, extra, body string) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "SIP/2.0 %s\n", status)
	for _, name := range []string{"Via", "Record-Route", "From", "To", "Call-ID", "CSeq"} {
		for _, v := range m.All(name) {
			if name == "To" && tag != "" && !strings.Contains(v, ";tag=") {
				v += ";tag=" + tag
			}
			fmt.Fprintf(&b, "%s: %s\n", name, v)
		}
	}
	b.WriteString(extra)
	s.Send(t, b.String(), body)
}

// Request sends a request that may be challenged, answers the challenge, and gives the request as
// it was last sent up to the header lines after CSeq: what an ACK or CANCEL is made of.
func (s *Script) Request(t testing.TB, method, uri, callID, extra, body string) (sent string) {
	t.Helper()
	make := func(cseq int, more string) string {
		to := uri
		if method == "REGISTER" {
			to = "sip:" + s.Number + "@" + s.server
		}
		return fmt.Sprintf("%s %s SIP/2.0\nVia: SIP/2.0/UDP %s;branch=%s;rport\nMax-Forwards: 70\nFrom: <sip:%s@%s>;tag=%s\nTo: <%s>\nCall-ID: %s\nCSeq: %d %s\n%s%s",
			method, uri, s.Local(), s.Branch(), s.Number, s.server, s.tag, to, callID, cseq, method, extra, more)
	}
	sent = make(1, "")
	s.Send(t, sent, body)
	status, header, credentials := "401", "WWW-Authenticate", "Authorization"
	if method != "REGISTER" {
		status, header, credentials = "407", "Proxy-Authenticate", "Proxy-Authorization"
	}
	challenge := s.Receive(t, status)
	if method == "INVITE" {
		s.Send(t, s.Ack(sent, challenge), "")
	}
	sent = make(2, credentials+": "+s.digest(challenge.Header(header), method, uri)+"\n")
	s.Send(t, sent, body)
	return sent
}

// Ack is the ACK to a refusal: the request's own line, Via and headers, the response's To.
func (s *Script) Ack(invite string, response *Message) string {
	lines := strings.Split(invite, "\n")
	out := []string{strings.Replace(lines[0], "INVITE", "ACK", 1)}
	for _, l := range lines[1:] {
		switch name, value, _ := strings.Cut(l, ":"); name {
		case "Via", "Max-Forwards", "From", "Call-ID":
			out = append(out, l)
		case "To":
			out = append(out, "To: "+response.Header("To"))
		case "CSeq":
			out = append(out, "CSeq:"+strings.Replace(value, "INVITE", "ACK", 1))
		}
	}
	return strings.Join(out, "\n") + "\n"
}

// InDialog is a request inside the dialog that a 2xx made.
func (s *Script) InDialog(method string, cseq int, invite string, ok *Message) string {
	var b strings.Builder
	uri := ok.Header("Contact")
	if m := regexp.MustCompile(`<([^>]*)>`).FindStringSubmatch(uri); m != nil {
		uri = m[1]
	}
	fmt.Fprintf(&b, "%s %s SIP/2.0\nVia: SIP/2.0/UDP %s;branch=%s;rport\nMax-Forwards: 70\n", method, uri, s.Local(), s.Branch())
	routes := ok.All("Record-Route")
	for i := len(routes) - 1; i >= 0; i-- {
		fmt.Fprintf(&b, "Route: %s\n", routes[i])
	}
	fmt.Fprintf(&b, "From: %s\nTo: %s\nCall-ID: %s\nCSeq: %d %s\n", ok.Header("From"), ok.Header("To"), ok.Header("Call-ID"), cseq, method)
	return b.String()
}

// digest answers an MD5 challenge with or without qop (RFC 7616).
func (s *Script) digest(challenge, method, uri string) string {
	param := func(name string) string {
		m := regexp.MustCompile(`\b` + name + `="?([^",]*)`).FindStringSubmatch(challenge)
		if m == nil {
			return ""
		}
		return m[1]
	}
	hash := func(text string) string { return fmt.Sprintf("%x", md5.Sum([]byte(text))) }
	ha1, ha2 := hash(s.Number+":"+param("realm")+":"+s.Password), hash(method+":"+uri)
	out := fmt.Sprintf(`Digest username="%s", realm="%s", nonce="%s", uri="%s", algorithm=MD5`, s.Number, param("realm"), param("nonce"), uri)
	if param("qop") == "" {
		return out + fmt.Sprintf(`, response="%s"`, hash(ha1+":"+param("nonce")+":"+ha2))
	}
	cnonce := s.Branch()
	return out + fmt.Sprintf(`, qop=auth, nc=00000001, cnonce="%s", response="%s"`, cnonce,
		hash(strings.Join([]string{ha1, param("nonce"), "00000001", cnonce, "auth", ha2}, ":")))
}
