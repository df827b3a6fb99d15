package relay

import (
	"encoding/binary"
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A worker that is woken for each packet spends more on waking than on forwarding. From some twenty calls on it rests
// for a moment between rounds and finds several packets then: less than a millisecond, which nobody hears.
const (
	restFrom  = 2000 // packets a second
	restFor   = 8    // packets that should be there after a rest
	leastRest = 250 * time.Microsecond
	mostRest  = 750 * time.Microsecond
	measured  = 10 * time.Millisecond // how long packets are counted for a rate
)

// pace is how long a worker should rest, by what it had to do lately.
type pace struct {
	since   time.Time
	packets int
	rest    time.Duration
}

// next counts the packets of a round and gives the rest after it; zero: wait for the next packet.
func (p *pace) next(packets int, now time.Time) time.Duration {
	p.packets += packets
	passed := now.Sub(p.since)
	if passed < measured {
		return p.rest
	}
	p.rest = 0
	if p.packets > 0 {
		if each := passed / time.Duration(p.packets); each <= time.Second/restFrom {
			p.rest = min(max(restFor*each, leastRest), mostRest)
		}
	}
	p.since, p.packets = now, 0
	return p.rest
}

// timer wakes a goroutine after less than a millisecond, which is the grain of time.Sleep. The goroutine waits in the
// poller of the program like any reader: it keeps no processor from other work, as a call that sleeps would.
type timer struct {
	fd     int
	file   *os.File
	raw    syscall.RawConn
	waited bool
	read   func(fd uintptr) bool
}

func newTimer() (*timer, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("relay: timer: %w", err)
	}
	t := &timer{fd: fd, file: os.NewFile(uintptr(fd), "timer")}
	if t.raw, err = t.file.SyscallConn(); err != nil {
		t.file.Close()
		return nil, fmt.Errorf("relay: timer: %w", err)
	}
	t.read = func(fd uintptr) bool {
		if !t.waited { // it cannot have run out yet
			t.waited = true
			return false
		}
		var b [8]byte
		n, _, _ := unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&b)), uintptr(len(b)))
		return int(n) == len(b) && binary.NativeEndian.Uint64(b[:]) > 0
	}
	return t, nil
}

// sleep returns after d.
func (t *timer) sleep(d time.Duration) error {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}
	if err := unix.TimerfdSettime(t.fd, 0, &spec, nil); err != nil {
		return fmt.Errorf("relay: timer: %w", err)
	}
	t.waited = false
	return t.raw.Read(t.read)
}

func (t *timer) close() { t.file.Close() }
