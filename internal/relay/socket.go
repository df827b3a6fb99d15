package relay

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// listen opens a UDP socket of one port.
func listen(addr netip.AddrPort) (fd int, err error) {
	family := unix.AF_INET6
	if addr.Addr().Is4() {
		family = unix.AF_INET
	}
	fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("relay: socket: %w", err)
	}
	if err := setOptions(fd, family); err != nil {
		unix.Close(fd)
		return -1, err
	}
	var to unix.Sockaddr
	if family == unix.AF_INET {
		to = &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}
	} else {
		to = &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()}
	}
	if err := unix.Bind(fd, to); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("relay: bind %s: %w", addr, err)
	}
	return fd, nil
}

func setOptions(fd, family int) error {
	option := func(name string, level, option, value int) error {
		if err := unix.SetsockoptInt(fd, level, option, value); err != nil {
			return fmt.Errorf("relay: %s: %w", name, err)
		}
		return nil
	}
	if family == unix.AF_INET6 {
		if err := option("IPV6_V6ONLY", unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
			return err
		}
		return option("IPV6_RECVTCLASS", unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1)
	}
	// Without DF: a line that swallows "fragmentation needed" (PPPoE behind many routers) must not swallow audio.
	if err := option("IP_MTU_DISCOVER", unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT); err != nil {
		return err
	}
	return option("IP_RECVTOS", unix.IPPROTO_IP, unix.IP_RECVTOS, 1)
}

// setMark has a socket mark what it sends.
func setMark(fd int, v6 bool, dscp uint8) {
	// A mark that the kernel refuses is no reason not to forward.
	if v6 {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_TCLASS, int(dscp))
	} else {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TOS, int(dscp))
	}
}

// datagramSize is the largest there is.
const datagramSize = 64 << 10

// inbox is where a worker reads one datagram at a time. Its pointers are set once.
type inbox struct {
	hdr     unix.Msghdr
	iov     unix.Iovec
	name    sockaddr
	control [controlSize]byte
	buf     [datagramSize]byte
}

const controlSize = 64

func newInbox() *inbox {
	in := new(inbox)
	in.iov.Base = &in.buf[0]
	in.iov.SetLen(len(in.buf))
	in.hdr.Name = &in.name[0]
	in.hdr.Iov = &in.iov
	in.hdr.SetIovlen(1)
	in.hdr.Control = &in.control[0]
	return in
}

// receive reads one datagram: its bytes, which are valid until the next call, where it came from, and its DSCP in the
// upper six bits of a byte.
//
// The call is raw: it does not wait for anything, so the scheduler need not be told of it.
func (in *inbox) receive(fd int) (b []byte, from netip.AddrPort, dscp uint8, errno syscall.Errno) {
	in.hdr.Namelen = uint32(len(in.name))
	in.hdr.SetControllen(controlSize)
	n, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&in.hdr)), unix.MSG_DONTWAIT)
	if errno != 0 {
		return nil, from, 0, errno
	}
	return in.buf[:n], in.name.addrPort(), in.mark(), 0
}

// mark finds the type of service among the control messages: one byte of IPv4, an int of IPv6. The two bits of ECN are
// not for the other side: what they would tell of is this network.
func (in *inbox) mark() uint8 {
	const dscp = 0xfc
	n := int(in.hdr.Controllen)
	if n < unix.SizeofCmsghdr+1 {
		return 0
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&in.control[0])) // the only one that was asked for
	data := in.control[unix.SizeofCmsghdr:n]
	switch {
	case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_TOS:
		return data[0] & dscp
	case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_TCLASS && len(data) >= 4:
		return uint8(binary.NativeEndian.Uint32(data)) & dscp
	}
	return 0
}

// send sends one datagram to a destination, or where the socket is connected to if the destination is empty.
func send(fd int, b []byte, to *sockaddr, length int) syscall.Errno {
	var payload, name unsafe.Pointer
	if len(b) > 0 {
		payload = unsafe.Pointer(&b[0])
	}
	if length > 0 {
		name = unsafe.Pointer(to)
	}
	_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(payload), uintptr(len(b)),
		unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, uintptr(name), uintptr(length))
	return errno
}

// sockaddr holds a sockaddr_in or a sockaddr_in6.
type sockaddr [unix.SizeofSockaddrInet6]byte

func (s *sockaddr) addrPort() netip.AddrPort {
	port := binary.BigEndian.Uint16(s[2:])
	if binary.NativeEndian.Uint16(s[:]) == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(s[4:8])), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16([16]byte(s[8:24])), port)
}

// set writes an address and gives its length.
func (s *sockaddr) set(a netip.AddrPort) int {
	*s = sockaddr{}
	binary.BigEndian.PutUint16(s[2:], a.Port())
	if a.Addr().Is4() {
		binary.NativeEndian.PutUint16(s[:], unix.AF_INET)
		ip := a.Addr().As4()
		copy(s[4:], ip[:])
		return unix.SizeofSockaddrInet4
	}
	binary.NativeEndian.PutUint16(s[:], unix.AF_INET6)
	ip := a.Addr().As16()
	copy(s[8:], ip[:])
	return unix.SizeofSockaddrInet6
}
