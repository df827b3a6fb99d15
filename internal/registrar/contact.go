package registrar

import (
	"bytes"
	"net/netip"

	"liaison/internal/sip"
	"liaison/internal/sip/transport"
)

// allowed refuses Contacts that no agent can have (the requests go to flow all the same).
func (r *Registrar) allowed(u *sip.URI, flow transport.Flow) *sip.Error {
	if !u.IsSIP() {
		return sip.Errorf(403, "Forbidden - Contact is not a SIP URI", "Contact of scheme %q", u.Scheme)
	}
	why := ""
	addr, isAddr := u.Addr()
	switch {
	case r.ours != nil && r.ours(u.Host, u.Port):
		why = "is this service"
	case isAddr:
		why = forbidden(addr, flow.Remote.Addr())
	case fold(u.Host, "localhost"):
		why = forbidden(netip.AddrFrom4([4]byte{127, 0, 0, 1}), flow.Remote.Addr())
	case !hostname(u.Host):
		return sip.Errorf(400, "Bad Request - host of a Contact", "Contact host %q", u.Host)
	}
	if why != "" {
		return sip.Errorf(403, "Forbidden - Contact "+why, "Contact host %q from %s", u.Host, flow.Remote)
	}
	return nil
}

// hostname: RFC 3261 25.1, the last label of a name begins with a letter. What looks like a number is an address in
// disguise ("2130706433", "0x7f.1").
func hostname(host []byte) bool {
	host = bytes.TrimSuffix(host, []byte("."))
	last := host[bytes.LastIndexByte(host, '.')+1:]
	return len(last) > 0 && (last[0]|0x20) >= 'a' && (last[0]|0x20) <= 'z'
}

var awsMetadata6 = netip.MustParseAddr("fd00:ec2::254")

// forbidden says why no agent can be at that address; empty: one can.
func forbidden(a, source netip.Addr) string {
	a = a.Unmap()
	switch {
	case a.IsUnspecified() || (a.Is4() && a.As4()[0] == 0):
		return "is no address"
	case a.IsLoopback():
		if source.Unmap().IsLoopback() {
			return ""
		}
		return "is a loopback address"
	case a.IsMulticast():
		return "is a multicast address"
	case a.IsLinkLocalUnicast(): // the metadata services at 169.254.169.254 too
		return "is a link-local address"
	case a.Is4() && a.As4()[0] >= 240: // reserved, 255.255.255.255 too
		return "is a broadcast or reserved address"
	case a == awsMetadata6:
		return "is a metadata service"
	}
	return ""
}
