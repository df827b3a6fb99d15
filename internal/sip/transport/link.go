package transport

import "context"

// linkQueue is how many messages may wait for one side of a link: more than all calls of a test codec send at a time.
const linkQueue = 4096

// link is one side's view of an in-process pair.
type link struct {
	t     *Transport
	peer  *Transport
	queue chan *Packet // what the peer sent to us
}

// Join links two stacks inside the process, so that the test codec answers like any agent and on no port. What one
// sends on a flow {Link, Local, Remote} the other receives from {Link, Remote, Local}; the sender chooses both
// addresses, and Announced gives Local as it is. Messages are copied and parsed again, like on a network. A full queue
// drops and counts. A Transport has at most one link. Before Run.
func Join(a, b *Transport) {
	a.link = &link{t: a, peer: b, queue: make(chan *Packet, linkQueue)}
	b.link = &link{t: b, peer: a, queue: make(chan *Packet, linkQueue)}
}

// send hands a message over. The packet is the receiver's, of its pool.
func (l *link) send(f Flow, m []byte) {
	to := l.peer
	if len(m) > maxDatagram {
		l.t.counters.add(sendTooLarge, 1)
		return
	}
	p := to.pool.take(len(m))
	if p == nil {
		to.counters.add(dropNoBuffer, 1)
		return
	}
	p.length = copy(p.buf, m)
	p.Flow = Flow{Proto: Link, Local: f.Remote, Remote: f.Local}
	select {
	case to.link.queue <- p:
		l.t.counters.add(sentLink, 1)
	default:
		to.counters.add(dropLinkFull, 1)
		p.Release()
	}
}

// deliver parses what the peer sent and hands it on.
func (l *link) deliver(ctx context.Context) {
	batch := make([]*Packet, 0, batchSize)
	for {
		select {
		case <-ctx.Done():
			return
		case p := <-l.queue:
			batch = l.collect(batch[:0], p)
		}
		if len(batch) > 0 {
			l.t.counters.add(receivedLink, len(batch))
			l.t.handler.Receive(batch)
		}
	}
}

// collect takes what else waits.
func (l *link) collect(batch []*Packet, p *Packet) []*Packet {
	for {
		if err := l.t.parse(p); err != nil {
			l.t.counters.add(dropUnparseable, 1)
			p.Release()
		} else {
			batch = append(batch, p)
		}
		if len(batch) == batchSize {
			return batch
		}
		select {
		case p = <-l.queue:
		default:
			return batch
		}
	}
}
