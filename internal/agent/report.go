package agent

import (
	"math"
	"time"
)

// Report is what a call was and brought. Its JSON form is fixed.
type Report struct {
	Number   string  `json:"number"`
	Answered bool    `json:"answered"`
	Status   int     `json:"status"` // of the final answer; 0: none came
	Reason   string  `json:"reason"`
	CallID   string  `json:"call_id"`
	Setup    int64   `json:"setup_ms"`   // from the INVITE to the answer
	Duration float64 `json:"duration_s"` // from the answer to the end
	Codec    string  `json:"codec"`      // the last one agreed, "PCMA/8000/1"
	Relayed  *bool   `json:"relayed"`    // null: not known to the agent

	Sent     Sent     `json:"sent"`
	Received Received `json:"received"`

	Error *string `json:"error"`
}

// Sent counts RTP packets and the bytes of their payloads.
type Sent struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// Received is what came back, bytes counted as in Sent.
type Received struct {
	Packets    uint64   `json:"packets"`
	Bytes      uint64   `json:"bytes"`
	Lost       uint64   `json:"lost"`
	Duplicates uint64   `json:"duplicates"`
	Jitter     float64  `json:"jitter_ms"`
	First      int64    `json:"first_ms"`   // from the answer to the first packet; 0 if it was here before
	Level      *float64 `json:"level_dbfs"` // a full-scale sine is 0; null: nothing that can be decoded here
}

// into writes what the audio of a call was into its report, when it has ended. The error is that of the recording.
func (m *media) into(r *Report) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.receiver.stats.Summary()
	r.Sent = Sent{Packets: uint64(m.packets), Bytes: uint64(m.octets)}
	r.Received = Received{
		Packets: s.Packets, Bytes: s.Bytes, Lost: s.Lost, Duplicates: s.Duplicates,
		Jitter: math.Round(s.Jitter.Seconds()*1e5) / 100,
		Level:  m.receiver.level.dBFS(),
	}
	if s.Packets > 0 && !m.answeredAt.IsZero() {
		r.Received.First = max(s.First.Sub(m.answeredAt).Milliseconds(), 0)
	}
	return m.receiver.err
}

func seconds(d time.Duration) float64 { return math.Round(d.Seconds()*1000) / 1000 }
