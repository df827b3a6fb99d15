package relay

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

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

	in       *inbox
	counters counters
}

// maxEvents is how many ready sockets one call reports at most.
const maxEvents = 128

func newWorker(r *Relay) (*worker, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("relay: epoll: %w", err)
	}
	w := &worker{relay: r, epoll: epoll, in: newInbox()}
	w.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err == nil {
		err = unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, w.wake, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(w.wake)})
	}
	if err != nil {
		w.close()
		return nil, fmt.Errorf("relay: eventfd: %w", err)
	}
	return w, nil
}

func (w *worker) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	unix.Close(w.epoll)
	unix.Close(w.wake)
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
	w.ports[p.fd] = nil
	w.mu.Unlock()
}

// stop ends run.
func (w *worker) stop() {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, _ = unix.Write(w.wake, one[:])
}

// run forwards until stop.
func (w *worker) run() error {
	var events [maxEvents]unix.EpollEvent
	var ready [maxEvents]*port
	for {
		n, err := unix.EpollWait(w.epoll, events[:], -1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("relay: epoll: %w", err)
		}
		w.mu.Lock()
		for i := range events[:n] {
			fd := int(events[i].Fd)
			if fd == w.wake {
				w.mu.Unlock()
				return nil
			}
			ready[i] = nil
			if fd < len(w.ports) {
				ready[i] = w.ports[fd]
			}
		}
		w.mu.Unlock()
		now := w.relay.now()
		for _, p := range ready[:n] {
			if p != nil {
				p.forward(w, now)
			}
		}
	}
}
