package main

import (
	"fmt"
	"net/netip"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// batch is how many datagrams one system call moves at most. It bounds the
	// bursts that the server sees, too.
	batch = 32
	// datagram is the room for one; the longest here has about 1,500 bytes.
	datagram = 8192
)

// mmsghdr is the kernel's struct mmsghdr, 64-bit.
type mmsghdr struct {
	header unix.Msghdr
	length uint32
	_      [4]byte
}

// socket is a connected UDP socket that moves datagrams in batches, so that
// the generator costs less than any server it drives.
type socket struct {
	fd    int
	local netip.AddrPort

	in       [batch]mmsghdr
	inVector [batch]unix.Iovec
	inBytes  [batch][datagram]byte

	out       [batch]mmsghdr
	outVector [batch]unix.Iovec
	outBytes  [batch][datagram]byte
	queued    int
}

func dial(server netip.AddrPort) (*socket, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	s := &socket{fd: fd}
	if err := s.prepare(server); err != nil {
		unix.Close(fd)
		return nil, err
	}
	for i := range batch {
		s.inVector[i].Base = &s.inBytes[i][0]
		s.inVector[i].SetLen(datagram)
		s.in[i].header.Iov = &s.inVector[i]
		s.in[i].header.SetIovlen(1)
		s.outVector[i].Base = &s.outBytes[i][0]
		s.out[i].header.Iov = &s.outVector[i]
		s.out[i].header.SetIovlen(1)
	}
	return s, nil
}

func (s *socket) prepare(server netip.AddrPort) error {
	// The generator must lose nothing: as root it may pass net.core.rmem_max.
	if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20) != nil {
		_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 16<<20)
	}
	wait := unix.NsecToTimeval(int64(20 * time.Millisecond))
	if err := unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
		return fmt.Errorf("receive timeout: %w", err)
	}
	if err := unix.Bind(s.fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	if err := unix.Connect(s.fd, &unix.SockaddrInet4{Addr: server.Addr().As4(), Port: int(server.Port())}); err != nil {
		return fmt.Errorf("connect to %v: %w", server, err)
	}
	name, err := unix.Getsockname(s.fd)
	if err != nil {
		return fmt.Errorf("local address: %w", err)
	}
	local := name.(*unix.SockaddrInet4)
	s.local = netip.AddrPortFrom(netip.AddrFrom4(local.Addr), uint16(local.Port))
	return nil
}

func (s *socket) close() { unix.Close(s.fd) }

// receive waits at most 20 ms for datagrams and gives how many came;
// they are read with datagram until the next receive.
func (s *socket) receive() (int, error) {
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.in[0])), batch, unix.MSG_WAITFORONE, 0, 0)
	runtime.KeepAlive(s)
	switch errno {
	case 0:
		return int(n), nil
	case unix.EAGAIN, unix.EINTR, unix.ECONNREFUSED:
		// Refused is what a server's port says while it starts or has died;
		// unanswered requests tell.
		return 0, nil
	}
	return 0, fmt.Errorf("recvmmsg: %w", errno)
}

func (s *socket) datagram(i int) []byte { return s.inBytes[i][:s.in[i].length] }

// next gives room to write one datagram into; queue sends it, at the latest
// with flush.
func (s *socket) next() []byte { return s.outBytes[s.queued][:0] }

func (s *socket) queue(b []byte) error {
	if len(b) > datagram {
		panic("a datagram longer than its room")
	}
	s.outVector[s.queued].SetLen(len(b))
	s.queued++
	if s.queued == batch {
		return s.flush()
	}
	return nil
}

func (s *socket) flush() error {
	for sent := 0; sent < s.queued; {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.out[sent])), uintptr(s.queued-sent), 0, 0, 0)
		runtime.KeepAlive(s)
		switch errno {
		case 0:
			sent += int(n)
		case unix.EINTR, unix.ECONNREFUSED:
		default:
			return fmt.Errorf("sendmmsg: %w", errno)
		}
	}
	s.queued = 0
	return nil
}
