// Package relay forwards media between the two sides of a call that cannot reach each other: RTP and RTCP as they
// come, whatever their payload.
//
// A Relay owns pools of ports. A Session takes ports of a pool for one call: for each stream (what has an address of
// its own in the offer: a media line, two lines on one port, parity FEC) a pair that faces the caller and a pair that
// faces the callee, RTP on the even port, RTCP on the odd one above. What arrives on a port is sent on from the
// opposite one. Who may send to a port is learned from the first packet and then locked: see lock.
//
// A few workers wait for the sockets with epoll and forward without allocating. One more goroutine looks at every
// session four times a second: quality, silence, and what the owner has to be told.
package relay
