//go:build e2e

package peer

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"liaison/e2e/lab"
)

// Ping says whether a SIP server answers OPTIONS over UDP, from this host.
func Ping(h *lab.Host, server string) bool {
	conn, err := h.Dial(context.Background(), "udp4", server)
	if err != nil {
		return false
	}
	defer conn.Close()
	local := conn.LocalAddr().(*net.UDPAddr)
	stamp := time.Now().UnixNano()
	fmt.Fprintf(conn, "OPTIONS sip:%s SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bK%d;rport\r\nMax-Forwards: 70\r\n"+
		"From: <sip:ping@%s>;tag=%d\r\nTo: <sip:%s>\r\nCall-ID: %d\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
		server, local, stamp, local, stamp, server, stamp)
	_ = conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	buf := make([]byte, 1500)
	n, err := conn.Read(buf)
	return err == nil && strings.HasPrefix(string(buf[:n]), "SIP/2.0 ")
}
