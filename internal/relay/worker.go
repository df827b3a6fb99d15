package relay

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// worker waits for the sockets of its sessions and forwards what comes. A session belongs to one worker for life, so
// that its lock is hardly ever waited for.
type worker struct {
	relay    *Relay
	epoll    int
	wake     int // eventfd that ends run
	sessions atomic.Int64

	mu     sync.Mutex
	ports  []*port // by descriptor; nil: none of ours
	closed bool

	// Of run alone.
	in     *inbox
	events [maxEvents]unix.EpollEvent
	timer  *timer

	counters counters
}

// maxEvents is how many ready sockets one call reports at most.
const maxEvents = 128

func newWorker(r *Relay) (*worker, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("relay: epoll: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(epoll)
		return nil, fmt.Errorf("relay: eventfd: %w", err)
	}
	timer, err := newTimer()
	if err != nil {
		unix.Close(epoll)
		unix.Close(wake)
		return nil, err
	}
	w := &worker{relay: r, epoll: epoll, wake: wake, in: newInbox(), timer: timer}
	err = unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, wake, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(wake)})
	if err != nil {
		w.close()
		return nil, fmt.Errorf("relay: epoll: %w", err)
	}
	return w, nil
}

func (w *worker) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	unix.Close(w.epoll)
	unix.Close(w.wake)
	w.timer.close()
}

// add begins to wait for a port.
func (w *worker) add(p *port) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return errClosed
	}
	for len(w.ports) <= p.fd {
		w.ports = append(w.ports, nil)
	}
	w.ports[p.fd] = p
	// Level-triggered, and one packet read for each event: mostly there is one, and a call that finds none is saved.
	err := unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, p.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(p.fd)})
	if err != nil {
		return fmt.Errorf("relay: epoll: %w", err)
	}
	return nil
}

// remove forgets a port; closing its descriptor takes it from the epoll. An event that was reported before finds no
// port, or the next one with that descriptor, which has nothing to read yet.
func (w *worker) remove(p *port) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.fd < len(w.ports) {
		w.ports[p.fd] = nil
	}
}

// stop ends run.
func (w *worker) stop() {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, _ = unix.Write(w.wake, one[:])
}

// run forwards until stop.
func (w *worker) run() error {
	var p pace
	for {
		n, err := w.round(p.rest == 0)
		if err != nil || n < 0 {
			return err
		}
		if n == maxEvents {
			continue // there may be more
		}
		if rest := p.next(n, w.relay.now()); rest > 0 {
			if err := w.timer.sleep(rest); err != nil {
				return err
			}
		}
	}
}

// round forwards one packet of each port that has some and gives their number; negative: stop was called.
func (w *worker) round(wait bool) (int, error) {
	n, err := w.ready(wait)
	if err != nil || n == 0 {
		return 0, err
	}
	var ports [maxEvents]*port
	w.mu.Lock()
	for i := range w.events[:n] {
		fd := int(w.events[i].Fd)
		if fd == w.wake {
			w.mu.Unlock()
			return -1, nil
		}
		if fd < len(w.ports) {
			ports[i] = w.ports[fd]
		}
	}
	w.mu.Unlock()
	now := w.relay.now()
	for _, p := range ports[:n] {
		if p != nil {
			p.forward(w, now)
		}
	}
	return n, nil
}

// ready gives how many events there are.
func (w *worker) ready(wait bool) (int, error) {
	var n int
	var err error
	if wait {
		n, err = unix.EpollWait(w.epoll, w.events[:], -1)
	} else {
		// Raw, because it does not wait.
		r, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(w.epoll), uintptr(unsafe.Pointer(&w.events[0])), maxEvents, 0, 0, 0)
		n = int(r)
		if errno != 0 {
			err = errno
		}
	}
	if errors.Is(err, unix.EINTR) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("relay: epoll: %w", err)
	}
	return n, nil
}
