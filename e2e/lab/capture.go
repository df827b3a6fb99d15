//go:build e2e

package lab

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Packet is one UDP datagram that passed a host's cable.
type Packet struct {
	At       time.Time
	From, To netip.AddrPort
	Payload  []byte
}

// Capture sees every UDP datagram on a host's cable, in both directions.
type Capture struct {
	mu      sync.Mutex
	packets []Packet
}

// Capture begins one; it ends with the test.
func (h *Host) Capture(t testing.TB) *Capture {
	t.Helper()
	c := &Capture{}
	var fd int
	err := h.Do(func() (err error) {
		// ETH_P_IP would not show what the host itself sends. In network byte order.
		const all = unix.ETH_P_ALL << 8
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, all)
		return err
	})
	if err != nil {
		t.Fatalf("capture on %s: %v", h.Name, err)
	}
	// Reads end after a moment so that the reader sees the end of the test.
	tv := unix.NsecToTimeval(int64(100 * time.Millisecond))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 65536)
		for {
			select {
			case <-stop:
				return
			default:
			}
			n, _, err := unix.Recvfrom(fd, buf, 0)
			if err == syscall.EAGAIN || err == syscall.EINTR {
				continue
			}
			if err != nil {
				return
			}
			if p, ok := udp(buf[:n]); ok {
				c.mu.Lock()
				c.packets = append(c.packets, p)
				c.mu.Unlock()
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-done
		unix.Close(fd)
	})
	return c
}

// Packets is what was seen so far that keep says yes to; nil keeps all.
func (c *Capture) Packets(keep func(Packet) bool) []Packet {
	c.mu.Lock()
	defer c.mu.Unlock()
	if keep == nil {
		return slices.Clone(c.packets)
	}
	var out []Packet
	for _, p := range c.packets {
		if keep(p) {
			out = append(out, p)
		}
	}
	return out
}

// udp reads an IPv4 packet; fragments after the first have no ports and are left out.
func udp(b []byte) (Packet, bool) {
	if len(b) < 28 || b[0]>>4 != 4 || b[9] != unix.IPPROTO_UDP || binary.BigEndian.Uint16(b[6:])&0x1fff != 0 {
		return Packet{}, false
	}
	header := int(b[0]&15) * 4
	total := int(binary.BigEndian.Uint16(b[2:]))
	if total > len(b) || header+8 > total {
		return Packet{}, false
	}
	port := func(at int) uint16 { return binary.BigEndian.Uint16(b[header+at:]) }
	return Packet{
		At:      time.Now(),
		From:    netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[12:16])), port(0)),
		To:      netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[16:20])), port(2)),
		Payload: slices.Clone(b[header+8 : total]),
	}, true
}
