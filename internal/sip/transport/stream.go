package transport

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"liaison/internal/sip"
)

// stream is one connection: a reader goroutine, a queue of bytes to write, and a writer goroutine only while the peer
// takes them more slowly than they come.
type stream struct {
	t      *Transport
	flow   Flow
	conn   net.Conn
	source netip.Addr // what it counts under; not valid: no limit

	// The reader's own.
	used     bool      // has brought a valid message
	opened   time.Time // when the connection began
	begun    time.Time // when the message began that is not whole yet; zero: none
	deadline time.Time // what the connection is set to
	buf      []byte    // read and not consumed
	breaks   int       // bytes of line breaks seen between messages: four are a ping
	sought   int       // bytes of buf in which the headers' end was sought in vain
	need     int       // bytes that the message in buf has at least, once its headers are whole
	batch    []*Packet

	raw syscall.RawConn // to write without waiting; nil: the connection has no such way
	try func(fd uintptr) bool

	mu      sync.Mutex
	out     []byte // waits to be written
	spare   []byte
	writing bool  // the writer goroutine has the connection
	cause   error // why we cut it
}

const firstBuffer = 4 << 10

func newStream(t *Transport, proto Proto, conn net.Conn, source netip.Addr) *stream {
	s := &stream{
		t: t, conn: conn, source: source, opened: time.Now(),
		flow: Flow{Proto: proto, Local: addrPort(conn.LocalAddr()), Remote: addrPort(conn.RemoteAddr())},
	}
	if c, ok := conn.(*net.TCPConn); ok {
		if raw, err := c.SyscallConn(); err == nil {
			s.raw = raw
			s.try = s.tryWrite
		}
	}
	return s
}

// read takes messages until the connection ends.
func (s *stream) read() {
	err := s.messages()
	s.t.streams.remove(s)
	s.mu.Lock()
	if s.cause != nil { // the reader only saw the connection closed
		err = s.cause
	}
	s.cause = ErrClosed // nothing is queued any more
	s.mu.Unlock()
	s.conn.Close()
	if !s.t.ending.Load() {
		s.t.handler.Closed(s.flow, err)
	}
}

func (s *stream) messages() error {
	s.buf = make([]byte, 0, firstBuffer)
	for {
		if err := s.setDeadline(); err != nil {
			return err
		}
		n, err := s.conn.Read(s.buf[len(s.buf):cap(s.buf)])
		s.buf = s.buf[:len(s.buf)+n]
		if n > 0 {
			bad := s.consume()
			s.deliver()
			if bad != nil {
				return s.farewell(bad)
			}
		}
		if err != nil {
			return s.readError(err)
		}
		if len(s.buf) == cap(s.buf) { // Frame has said that the message is not larger than it may be
			s.buf = append(make([]byte, 0, min(2*cap(s.buf), sip.MaxMessage+1)), s.buf...)
		}
	}
}

// setDeadline gives the next read its time: a message that began must end; a connection that never brought one must
// bring one; any other may rest for long.
func (s *stream) setDeadline() error {
	c := &s.t.config
	var d time.Time
	switch {
	case !s.begun.IsZero() && !s.used:
		d = earlier(s.begun.Add(c.MessageTimeout), s.opened.Add(c.UnusedTimeout))
	case !s.begun.IsZero():
		d = s.begun.Add(c.MessageTimeout)
	case !s.used:
		d = s.opened.Add(c.UnusedTimeout)
	default:
		d = time.Now().Add(c.IdleTimeout)
		if ahead := d.Sub(s.deadline); ahead >= 0 && ahead < c.IdleTimeout/64 { // not for every message
			return nil
		}
	}
	if d.Equal(s.deadline) {
		return nil
	}
	s.deadline = d
	return s.conn.SetReadDeadline(d)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func (s *stream) readError(err error) error {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	reason, what := cutIdle, "nothing received for long"
	switch {
	case !s.begun.IsZero():
		reason, what = cutSlowMessage, "a message took too long"
	case !s.used:
		reason, what = cutNeverUsed, "no message received"
	}
	s.t.counters.add(reason, 1)
	return errors.New(what)
}

// consume takes every whole message out of the buffer. An error means that the stream cannot be followed any more.
func (s *stream) consume() error {
	rest := s.buf
	ping := false
	var err error
	for {
		rest = s.skipBreaks(rest, &ping)
		if len(rest) == 0 {
			break
		}
		if rest[0] <= ' ' || rest[0] >= 0x7f { // TLS, STUN or worse: no message begins so
			err = errNotSIP
			break
		}
		var n int
		if n, err = s.frame(rest); n == 0 || err != nil {
			break
		}
		s.breaks, s.sought, s.need = 0, 0, 0
		s.take(rest[:n])
		rest = rest[n:]
	}
	if ping {
		// RFC 5626 4.4.1. Pings that came together get one answer: the peer waits for any.
		s.t.counters.add(keepAliveTCP, 1)
		s.t.counters.add(pong, 1)
		if s.queue([]byte("\r\n")) == nil {
			s.flush()
		}
	}
	switch {
	case err != nil:
		s.buf = rest
		return err
	case len(rest) == 0:
		s.begun = time.Time{}
		if cap(s.buf) > firstBuffer { // a large message leaves no large buffer
			s.buf = make([]byte, 0, firstBuffer)
			return nil
		}
	case len(rest) < len(s.buf) || s.begun.IsZero():
		s.begun = time.Now()
	}
	s.buf = s.buf[:copy(s.buf[:cap(s.buf)], rest)]
	return nil
}

// frame is sip.Frame for a message that may come byte by byte: what was searched is not searched again, and the headers
// are not read again for every byte of the body. Otherwise 64 kB in single bytes would cost a minute.
func (s *stream) frame(b []byte) (int, error) {
	if len(b) < s.need {
		return 0, nil
	}
	if s.need == 0 {
		tail := b[max(s.sought-2, 0):]
		if !bytes.Contains(tail, []byte("\n\r\n")) && !bytes.Contains(tail, []byte("\n\n")) {
			s.sought = len(b)
			if len(b) < sip.MaxMessage {
				return 0, nil
			}
			return sip.Frame(b) // says that it is too large
		}
	}
	// The headers are whole, so the length is known although the body is not here yet: Frame gets the room behind b as
	// if it were filled.
	n, err := sip.Frame(b[:cap(b)])
	switch {
	case err != nil:
		return 0, err
	case n == 0:
		s.need = cap(b) // larger than the buffer
	default:
		s.need = n
	}
	if len(b) < s.need {
		return 0, nil
	}
	return n, nil
}

// skipBreaks drops the line breaks between messages (RFC 3261 7.5); two of them are a ping.
func (s *stream) skipBreaks(b []byte, ping *bool) []byte {
	for len(b) > 0 && (b[0] == '\r' || b[0] == '\n') {
		if b[0] == "\r\n\r\n"[s.breaks] {
			s.breaks++
		} else {
			s.breaks = 0
		}
		if s.breaks == 4 {
			s.breaks = 0
			*ping = true
		}
		b = b[1:]
	}
	return b
}

// take parses one message and keeps it for deliver, or refuses it.
func (s *stream) take(m []byte) {
	p := s.t.pool.take(len(m))
	if p == nil {
		s.t.counters.add(dropNoBuffer, 1)
		return
	}
	p.Flow = s.flow
	p.length = copy(p.buf, m)
	if err := s.t.parse(p); err != nil {
		if b := s.t.refusal(p, err); b != nil && s.queue(b) == nil {
			s.flush()
		}
		p.Release()
		return
	}
	s.used = true
	s.batch = append(s.batch, p)
	if len(s.batch) == batchSize {
		s.deliver()
	}
}

func (s *stream) deliver() {
	if len(s.batch) == 0 {
		return
	}
	s.t.counters.add(receivedTCP, len(s.batch))
	s.t.handler.Receive(s.batch)
	clear(s.batch)
	s.batch = s.batch[:0]
}

var errNotSIP = errors.New("not SIP")

// farewell ends a stream that cannot be followed: with a refusal, if enough of a request is there to be refused.
func (s *stream) farewell(cause error) error {
	reason := cutFraming
	var refusal *sip.Error
	if errors.As(cause, &refusal) {
		if refusal.Status == 513 {
			reason = cutTooLarge
		}
		head := s.buf[:min(len(s.buf), sip.MaxMessage)]
		if p := s.t.pool.take(len(head)); p != nil {
			p.Flow = s.flow
			p.length = copy(p.buf, head)
			_ = s.t.parse(p) // what it can read is enough
			if b := s.t.refusal(p, refusal); b != nil && s.queue(b) == nil {
				s.flush()
				s.linger()
			}
			p.Release()
		}
	}
	s.t.counters.add(reason, 1)
	return cause
}

// linger lets the refusal arrive: closing with unread bytes would reset the connection and take the refusal with it.
func (s *stream) linger() {
	const patience = time.Second
	if c, ok := s.conn.(*net.TCPConn); ok && c.CloseWrite() == nil && c.SetReadDeadline(time.Now().Add(patience)) == nil {
		_, _ = io.CopyN(io.Discard, c, 4*sip.MaxMessage)
	}
}

// queue copies a message behind those that wait. A peer that takes nothing is cut: memory is bounded.
func (s *stream) queue(m []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != nil {
		return s.cause
	}
	if len(s.out)+len(m) > s.t.config.WriteQueue {
		s.cutLocked(cutSlowReader, errSlowReader)
		return errSlowReader
	}
	s.out = append(s.out, m...)
	return nil
}

var errSlowReader = errors.New("the peer does not read")

// flush writes what waits: at once if the kernel has room, else through a goroutine that ends when all is written.
func (s *stream) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writing || s.cause != nil || len(s.out) == 0 {
		return
	}
	if s.raw != nil {
		// An error is left for drain to meet.
		if s.raw.Write(s.try) == nil && len(s.out) == 0 {
			return
		}
	}
	s.writing = s.t.tasks.start(s.drain)
}

// tryWrite is called by flush with mu held. It never waits.
func (s *stream) tryWrite(fd uintptr) bool {
	for len(s.out) > 0 {
		n, err := unix.SendmsgN(int(fd), s.out, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		if err == unix.EINTR {
			continue
		}
		if err != nil { // full, or broken: then drain meets the error
			return true
		}
		s.written(n)
	}
	return true
}

func (s *stream) written(n int) {
	s.out = s.out[:copy(s.out, s.out[n:])]
	if len(s.out) == 0 && cap(s.out) > 4*firstBuffer {
		s.out = nil
	}
}

// drain writes until nothing waits.
func (s *stream) drain() {
	for {
		s.mu.Lock()
		if len(s.out) == 0 || s.cause != nil {
			s.writing = false
			s.spare = nil
			_ = s.conn.SetWriteDeadline(time.Time{}) // it would stop flush, too
			s.mu.Unlock()
			return
		}
		b := s.out
		s.out, s.spare = s.spare[:0], b
		s.mu.Unlock()

		_ = s.conn.SetWriteDeadline(time.Now().Add(s.t.config.WriteTimeout))
		if _, err := s.conn.Write(b); err != nil {
			s.mu.Lock()
			if errors.Is(err, os.ErrDeadlineExceeded) {
				s.cutLocked(cutSlowReader, errSlowReader)
			} else if s.cause == nil {
				s.cause = err
				s.conn.Close()
			}
			s.mu.Unlock()
		}
	}
}

// cutLocked ends the connection from our side; the reader does the rest.
func (s *stream) cutLocked(reason counter, cause error) {
	if s.cause != nil {
		return
	}
	s.cause = cause
	s.t.counters.add(reason, 1)
	abort(s.conn)
}
