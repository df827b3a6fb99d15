package transport

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
)

// lateReader reads every packet on other goroutines, after more have come.
type lateReader struct {
	t     *testing.T
	queue chan *Packet
}

func (h *lateReader) Receive(batch []*Packet) {
	for _, p := range batch {
		h.queue <- p
	}
}

func (h *lateReader) Closed(Flow, error) {}

func (h *lateReader) read(n int) {
	var held []*Packet
	for range n {
		held = append(held, <-h.queue)
		if len(held) < 20 {
			continue
		}
		for _, p := range held {
			id := string(p.Msg.CallID)
			if !strings.Contains(string(p.Msg.Raw), "branch=z9hG4bK"+id+";") || string(p.Msg.Via.Branch) != "z9hG4bK"+id {
				h.t.Errorf("message %s changed under its owner:\n%s", id, p.Msg.Raw)
			}
			p.Release()
		}
		held = held[:0]
	}
}

func TestPacketsAreNotUsedAgainBeforeTheirRelease(t *testing.T) {
	const readers, each = 4, 500
	h := &lateReader{t: t, queue: make(chan *Packet, 100)}
	tr := New(Config{Handler: h})
	if err := tr.ListenUDP("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	if err := tr.ListenTCP("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	run(t, tr)
	var wg sync.WaitGroup
	for range readers {
		wg.Go(func() { h.read(each) })
	}
	udp, tcp := client(t, "127.0.0.1:0"), connect(t, tr.Listeners()[1].Addr)
	for i := range readers * each / 2 {
		sendTo(t, udp, options("UDP 127.0.0.1", fmt.Sprint("u", i), fmt.Sprint("u", i)), tr.Listeners()[0].Addr)
		write(t, tcp, options("TCP 127.0.0.1", fmt.Sprint("t", i), fmt.Sprint("t", i)))
	}
	wg.Wait()
}

// FuzzPieces: a stream means the same in whatever pieces it comes.
func FuzzPieces(f *testing.F) {
	one := options("TCP 127.0.0.1", "1", "c1")
	two := withBody("c2", "v=0\r\n\r\n")
	f.Add(append(append([]byte("\r\n\r\n"), one...), two...), uint8(7))
	f.Add(append(append([]byte{}, two...), "INVITE sip:a\r\nl: 12\r\n\r\nabc"...), uint8(1))
	f.Add([]byte("a\n\nb\n\r\nContent-Length: 5\n\n12345"), uint8(3))
	f.Add([]byte("a\nl:\n 3\n\n123X\r\nl: 2\r\n\r\n12"), uint8(2))
	f.Fuzz(func(t *testing.T, stream []byte, size uint8) {
		whole := feed(t, stream, len(stream))
		pieces := feed(t, stream, int(size))
		if strings.Join(whole, "\x00") != strings.Join(pieces, "\x00") {
			t.Errorf("in one piece:\n%q\nin pieces of %d:\n%q", whole, size, pieces)
		}
	})
}

// feed is what a handler gets from a stream that comes in pieces.
func feed(t *testing.T, stream []byte, size int) (got []string) {
	tr := New(Config{})
	c := &collector{}
	tr.Handle(c)
	ours, peer := net.Pipe()
	tr.streams.total++
	s := newStream(tr, TCP, ours, netip.Addr{})
	go func() {
		for b := stream; len(b) > 0; {
			n := min(max(size, 1), len(b))
			if _, err := peer.Write(b[:n]); err != nil {
				break
			}
			b = b[n:]
		}
		peer.Close()
	}()
	go func() { // answers and pongs
		b := make([]byte, 1000)
		for {
			if _, err := peer.Read(b); err != nil {
				return
			}
		}
	}()
	tr.streams.add(s)
	s.read()
	tr.Close()
	tr.tasks.end()
	return c.got
}

// collector keeps what came.
type collector struct{ got []string }

func (c *collector) Receive(batch []*Packet) {
	for _, p := range batch {
		c.got = append(c.got, string(p.Msg.Raw))
		p.Release()
	}
}

func (c *collector) Closed(Flow, error) {}
