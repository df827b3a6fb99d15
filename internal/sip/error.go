package sip

import "fmt"

// Error is a refusal: Status and Reason go on the wire, Err into the log.
type Error struct {
	Status  int
	Reason  string // empty: the RFC's phrase
	Headers []byte // whole "Name: value\r\n" lines that the answer carries too
	Err     error
}

// Errorf makes a refusal; format and args describe the cause for the log.
func Errorf(status int, reason, format string, args ...any) *Error {
	return &Error{Status: status, Reason: reason, Err: fmt.Errorf(format, args...)}
}

func (e *Error) Error() string {
	reason := e.Reason
	if reason == "" {
		reason = ReasonPhrase(e.Status)
	}
	if e.Err == nil {
		return fmt.Sprintf("%d %s", e.Status, reason)
	}
	return fmt.Sprintf("%d %s: %v", e.Status, reason, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// bad is the answer to a message that breaks the grammar.
func bad(what string) *Error {
	return &Error{Status: 400, Reason: "Bad Request - " + what}
}

// ReasonPhrase is the RFC 3261 21 phrase of a status.
func ReasonPhrase(status int) string {
	if s, ok := reasonPhrases[status]; ok {
		return s
	}
	switch status / 100 {
	case 1:
		return "Session Progress"
	case 2:
		return "OK"
	case 3:
		return "Redirect"
	case 4:
		return "Client Error"
	case 5:
		return "Server Error"
	}
	return "Global Failure"
}

var reasonPhrases = map[int]string{
	100: "Trying", 180: "Ringing", 181: "Call Is Being Forwarded", 182: "Queued", 183: "Session Progress",
	200: "OK", 202: "Accepted", 300: "Multiple Choices", 301: "Moved Permanently", 302: "Moved Temporarily",
	305: "Use Proxy", 380: "Alternative Service",
	400: "Bad Request", 401: "Unauthorized", 402: "Payment Required", 403: "Forbidden", 404: "Not Found",
	405: "Method Not Allowed", 406: "Not Acceptable", 407: "Proxy Authentication Required", 408: "Request Timeout",
	410: "Gone", 413: "Request Entity Too Large", 414: "Request-URI Too Long", 415: "Unsupported Media Type",
	416: "Unsupported URI Scheme", 420: "Bad Extension", 421: "Extension Required", 423: "Interval Too Brief",
	430: "Flow Failed", 439: "First Hop Lacks Outbound Support", 440: "Max-Breadth Exceeded",
	480: "Temporarily Unavailable", 481: "Call/Transaction Does Not Exist", 482: "Loop Detected", 483: "Too Many Hops",
	484: "Address Incomplete", 485: "Ambiguous", 486: "Busy Here", 487: "Request Terminated", 488: "Not Acceptable Here",
	491: "Request Pending", 493: "Undecipherable",
	500: "Server Internal Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable",
	504: "Server Time-out", 505: "Version Not Supported", 513: "Message Too Large",
	600: "Busy Everywhere", 603: "Decline", 604: "Does Not Exist Anywhere", 606: "Not Acceptable",
}
