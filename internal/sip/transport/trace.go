package transport

import (
	"bytes"
	"context"
	"log/slog"
)

// levelTrace is below debug: whole messages, for whoever looks for a fault in a device.
const levelTrace = slog.LevelDebug - 4

// trace logs a message as it came or goes, without what would let a reader in or listen in.
func (t *Transport) trace(way string, f Flow, m []byte) {
	if f.Proto != Link { // inside the process it is logged on the other side
		t.log.Log(context.Background(), levelTrace, way, "flow", f.String(), "message", string(masked(m)))
	}
}

// secrets begin the lines whose values are masked: digests that a password can be guessed from, and keys of SRTP.
var secrets = [...]string{"authorization:", "proxy-authorization:", "a=crypto:"}

func masked(m []byte) []byte {
	out := make([]byte, 0, len(m))
	hiding := false
	for line := range bytes.Lines(m) {
		if hiding && (line[0] == ' ' || line[0] == '\t') {
			continue // a folded line goes on with what is hidden
		}
		hiding = false
		for _, s := range secrets {
			if head := bytes.Join(bytes.Fields(line[:min(len(line), len(s)+8)]), nil); len(head) >= len(s) && bytes.EqualFold(head[:len(s)], []byte(s)) {
				out = append(append(out, line[:bytes.IndexByte(line, ':')+1]...), " ***\r\n"...)
				hiding = true
			}
		}
		if !hiding {
			out = append(out, line...)
		}
	}
	return out
}
