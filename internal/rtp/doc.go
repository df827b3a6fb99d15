// Package rtp looks at RTP and RTCP packets without copying them, writes the few that this service sends
// itself, and counts from RTP alone what a line did to the audio: loss, bursts, duplicates, reordering, jitter.
//
// It knows no socket and no clock: times come in with the packets.
package rtp
