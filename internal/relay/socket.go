package relay

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"syscall"
	"time"
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
		return -1, fmt.Errorf("socket: %w", err)
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
		return -1, fmt.Errorf("bind %s: %w", addr, err)
	}
	return fd, nil
}

func setOptions(fd, family int) error {
	option := func(name string, level, option, value int) error {
		if err := unix.SetsockoptInt(fd, level, option, value); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	}
	if err := option("SO_TIMESTAMPNS", unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return err
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

// controlSize has room for a mark and a time.
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

// receive reads one datagram: its bytes, which are valid until the next call, and where it came from.
//
// The call is raw: it does not wait for anything, so the scheduler need not be told of it.
func (in *inbox) receive(fd int) (b []byte, from netip.AddrPort, errno syscall.Errno) {
	in.hdr.Namelen = uint32(len(in.name))
	in.hdr.SetControllen(controlSize)
	n, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&in.hdr)), unix.MSG_DONTWAIT)
	if errno != 0 {
		return nil, from, errno
	}
	return in.buf[:n], in.name.addrPort(), 0
}

// look reads what the kernel has noted of the datagram: its DSCP, in the upper six bits of a byte, and when it arrived.
// That is not when it was read: the quality of a line must not have the load of this machine in it.
func (in *inbox) look(now time.Time) (dscp uint8, arrived time.Time) {
	arrived = now
	rest := in.control[:in.hdr.Controllen]
	for len(rest) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&rest[0]))
		size := int(h.Len)
		if size < unix.SizeofCmsghdr || size > len(rest) {
			break
		}
		data := rest[unix.SizeofCmsghdr:size]
		switch {
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_TOS && len(data) >= 1:
			dscp = data[0] & dscpBits
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_TCLASS && len(data) >= 4:
			dscp = uint8(binary.NativeEndian.Uint32(data)) & dscpBits
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SCM_TIMESTAMPNS && len(data) >= 16:
			at := time.Unix(int64(binary.NativeEndian.Uint64(data)), int64(binary.NativeEndian.Uint64(data[8:])))
			// Only the difference is taken, so that setting the clock of the machine is no jitter.
			if ago := now.Sub(at); -recent < ago && ago < recent {
				arrived = now.Add(-ago)
			}
		}
		rest = rest[min(unix.CmsgSpace(len(data)), len(rest)):]
	}
	return dscp, arrived
}

// The two bits of ECN are not for the other side: what they would tell of is this network.
const dscpBits = 0xfc

// recent is how long a datagram may have waited for us at most.
const recent = time.Second

// send sends one datagram to an address, or where the socket is connected to if length is zero.
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

// connect has a UDP socket exchange datagrams with one address only.
func connect(fd int, to *sockaddr, length int) syscall.Errno {
	_, _, errno := unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(to)), uintptr(length))
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
