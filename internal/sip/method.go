package sip

// Method is a request method as written on the wire; methods are case-sensitive (RFC 3261 7.1).
type Method string

// The methods that the service knows by name. Others pass as they are.
const (
	INVITE    Method = "INVITE"
	ACK       Method = "ACK"
	BYE       Method = "BYE"
	CANCEL    Method = "CANCEL"
	OPTIONS   Method = "OPTIONS"
	REGISTER  Method = "REGISTER"
	PRACK     Method = "PRACK"
	UPDATE    Method = "UPDATE"
	INFO      Method = "INFO"
	MESSAGE   Method = "MESSAGE"
	SUBSCRIBE Method = "SUBSCRIBE"
	NOTIFY    Method = "NOTIFY"
	REFER     Method = "REFER"
	PUBLISH   Method = "PUBLISH"
)

// method interns the known methods, so that no message allocates for its method.
func method(b []byte) Method {
	switch string(b) {
	case "INVITE":
		return INVITE
	case "ACK":
		return ACK
	case "BYE":
		return BYE
	case "CANCEL":
		return CANCEL
	case "OPTIONS":
		return OPTIONS
	case "REGISTER":
		return REGISTER
	case "PRACK":
		return PRACK
	case "UPDATE":
		return UPDATE
	case "INFO":
		return INFO
	case "MESSAGE":
		return MESSAGE
	case "SUBSCRIBE":
		return SUBSCRIBE
	case "NOTIFY":
		return NOTIFY
	case "REFER":
		return REFER
	case "PUBLISH":
		return PUBLISH
	}
	return Method(b)
}
