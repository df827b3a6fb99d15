package transport

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is the kernel's struct mmsghdr (recvmmsg(2)).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32 // bytes received or sent
}

// Both calls are raw: MSG_DONTWAIT never sleeps, so the scheduler need not be told of the call (some 100 ns, and the
// hand-over of the processor if a full batch takes more than 20 us). batchSize bounds how long the
// collector may have to wait for one call.

func recvmmsg(fd uintptr, hdrs []mmsghdr) (int, syscall.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&hdrs[0])), uintptr(len(hdrs)), unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

func sendmmsg(fd uintptr, hdrs []mmsghdr) (int, syscall.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&hdrs[0])), uintptr(len(hdrs)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	return int(n), errno
}

// sockaddr holds a sockaddr_in or a sockaddr_in6.
type sockaddr [unix.SizeofSockaddrInet6]byte

func (s *sockaddr) put4(a netip.AddrPort) {
	binary.NativeEndian.PutUint16(s[0:], unix.AF_INET)
	binary.BigEndian.PutUint16(s[2:], a.Port())
	ip := a.Addr().As4()
	copy(s[4:8], ip[:])
}

func (s *sockaddr) put6(a netip.AddrPort) {
	binary.NativeEndian.PutUint16(s[0:], unix.AF_INET6)
	binary.BigEndian.PutUint16(s[2:], a.Port())
	ip := a.Addr().As16()
	copy(s[8:24], ip[:])
	scope := uint64(0)
	if zone := a.Addr().Zone(); zone != "" {
		scope, _ = strconv.ParseUint(zone, 10, 32)
	}
	binary.NativeEndian.PutUint32(s[24:], uint32(scope))
}

func (s *sockaddr) addr4() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(s[4:8])), binary.BigEndian.Uint16(s[2:]))
}

// addr6 keeps the interface of a link-local address as a numeric zone.
func (s *sockaddr) addr6() netip.AddrPort {
	a := netip.AddrFrom16([16]byte(s[8:24]))
	if scope := binary.NativeEndian.Uint32(s[24:]); scope != 0 && a.IsLinkLocalUnicast() {
		a = a.WithZone(strconv.FormatUint(uint64(scope), 10))
	}
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(s[2:]))
}

// control is one control message with the local address of a datagram: IP_PKTINFO or IPV6_PKTINFO.
type control struct {
	hdr  unix.Cmsghdr
	data [24]byte
}

// Lengths of the whole buffer: CMSG_SPACE of struct in_pktinfo and struct in6_pktinfo.
const (
	control4 = unix.SizeofCmsghdr + 16
	control6 = unix.SizeofCmsghdr + 24
)

func (c *control) pointer() *byte { return (*byte)(unsafe.Pointer(c)) }

// init writes what never changes: the header and, by leaving it zero, "any interface".
func (c *control) init(v4 bool) {
	if v4 {
		c.hdr.Level, c.hdr.Type = unix.IPPROTO_IP, unix.IP_PKTINFO
		c.hdr.SetLen(unix.CmsgLen(unix.SizeofInet4Pktinfo))
	} else {
		c.hdr.Level, c.hdr.Type = unix.IPPROTO_IPV6, unix.IPV6_PKTINFO
		c.hdr.SetLen(unix.CmsgLen(unix.SizeofInet6Pktinfo))
	}
}

// put4 pins the source: in_pktinfo is ifindex, spec_dst, addr.
func (c *control) put4(a netip.Addr) {
	ip := a.As4()
	copy(c.data[4:8], ip[:])
}

// put6 pins the source: in6_pktinfo is addr, ifindex.
func (c *control) put6(a netip.Addr) {
	ip := a.As16()
	copy(c.data[:16], ip[:])
}

// local reads the address that a datagram came to. Of IPv4 it is spec_dst and not the header's destination: an answer
// cannot leave from a broadcast address.
func (c *control) local(v4 bool) (netip.Addr, bool) {
	switch {
	case v4 && c.hdr.Level == unix.IPPROTO_IP && c.hdr.Type == unix.IP_PKTINFO:
		return netip.AddrFrom4([4]byte(c.data[4:8])), true
	case !v4 && c.hdr.Level == unix.IPPROTO_IPV6 && c.hdr.Type == unix.IPV6_PKTINFO:
		return netip.AddrFrom16([16]byte(c.data[:16])), true
	}
	return netip.Addr{}, false
}

// socketDrops is the kernel's count of datagrams that found the receive buffer full.
func socketDrops(fd uintptr) uint32 {
	const drops = 8 // SK_MEMINFO_DROPS
	var info [9]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO, uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0
	}
	return info[drops]
}

// waitWritable waits up to a millisecond for room in the socket's send buffer.
func waitWritable(fd uintptr) {
	_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, 1)
}
