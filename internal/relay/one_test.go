package relay

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// one has a port forward the one datagram that was sent to it. On a busy machine the kernel takes its time to deliver,
// on loopback too.
func one(t *testing.T, p *port, now time.Time) {
	t.Helper()
	waits(t, p)
	p.forward(p.session.worker, now)
}

// waits returns when a port has something to read.
func waits(t *testing.T, p *port) {
	t.Helper()
	fds := [...]unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds[:], 5000)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n != 1 || err != nil {
			t.Fatalf("nothing came to the port: %v", err)
		}
		return
	}
}
