//go:build ignore

// pack takes the middle third of what the encoders made of the tripled loop and writes it as README.md says.
//
//	go run pack.go FROM TO
package main

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"log"
	"os"
	"path/filepath"
)

const (
	octets     = 230400 // of 64 kbit/s in 28.8 s
	frames     = 1200   // of Layer II, 24 ms each
	frameBytes = 768    // at 256 kbit/s
	packets    = 1440   // of Opus, 20 ms each
)

func main() {
	log.SetFlags(0)
	from, to := os.Args[1], os.Args[2]
	load := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			log.Fatal(err)
		}
		return b
	}
	save := func(name string, b []byte) {
		if err := os.WriteFile(filepath.Join(to, name), b, 0o644); err != nil {
			log.Fatal(err)
		}
	}
	for _, codec := range []string{"pcma", "pcmu", "g722"} {
		save("programme."+codec, load("3." + codec)[octets:2*octets])
	}
	mp2 := load("3.mp2")
	for at := 0; at < len(mp2); at += frameBytes {
		if mp2[at] != 0xff || mp2[at+1]&0xfe != 0xfc {
			log.Fatalf("3.mp2: no Layer II frame at %d", at)
		}
	}
	save("programme.mp2", mp2[frames*frameBytes:2*frames*frameBytes])

	var opus []byte
	for _, p := range pages(load("3.opus"))[2:][packets : 2*packets] { // the first two are headers
		opus = append(binary.BigEndian.AppendUint16(opus, uint16(len(p))), p...)
	}
	save("programme.opus", opus)
	save("programme.l16.gz", squeeze(load("stereo.wav")[44:]))
}

// pages gives the packets of an Ogg stream.
func pages(b []byte) (out [][]byte) {
	var packet []byte
	for len(b) > 0 {
		if !bytes.HasPrefix(b, []byte("OggS")) {
			log.Fatal("3.opus: not an Ogg page")
		}
		segments := b[27 : 27+int(b[26])]
		b = b[27+len(segments):]
		for _, n := range segments {
			packet, b = append(packet, b[:n]...), b[n:]
			if n < 255 {
				out, packet = append(out, packet), nil
			}
		}
	}
	return out
}

// squeeze makes 16-bit stereo small without loss: the right side as its difference from the left, both as
// second differences, the low bytes apart from the high ones, and gzip over it.
func squeeze(pcm []byte) []byte {
	n := len(pcm) / 4
	planes := make([]byte, 0, 4*n)
	for channel := range 2 {
		var low, high []byte
		var one, two int16 // the sample before, its difference
		for i := range n {
			v := int16(binary.LittleEndian.Uint16(pcm[4*i:]))
			if channel == 1 {
				v = int16(binary.LittleEndian.Uint16(pcm[4*i+2:])) - v
			}
			d := v - one
			dd := d - two
			one, two = v, d
			z := uint16(dd<<1) ^ uint16(dd>>15) // small numbers of either sign have a zero high byte
			low, high = append(low, byte(z)), append(high, byte(z>>8))
		}
		planes = append(append(planes, low...), high...)
	}
	var out bytes.Buffer
	w, _ := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if _, err := w.Write(planes); err != nil {
		log.Fatal(err)
	}
	if err := w.Close(); err != nil {
		log.Fatal(err)
	}
	return out.Bytes()
}
