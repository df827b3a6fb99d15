//go:build e2e

package e2e

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"liaison/e2e/audio"
	"liaison/e2e/lab"
	"liaison/e2e/peer"
)

// programme is the committed programme as ffmpeg decodes it: one file per layout, so that every
// other codec is compared with something that did not come from its own file.
func programme(t testing.TB, rate, channels int) *audio.Recording {
	t.Helper()
	const folder = "../internal/agent/programme/"
	if channels == 2 {
		return peer.Decode(t, folder+"programme.mp2", rate, 2)
	}
	return peer.Decode(t, folder+"programme.pcma", rate, 1, "-f", "alaw", "-ar", "8000")
}

// isProgramme fails the test unless a file holds the programme, in each channel its own side.
func isProgramme(t testing.TB, path string, channels int) {
	t.Helper()
	const coarse, fine = 2000, 8000
	// What a decoder does before it has seen enough is not the programme's fault.
	const skip = 0.1
	at, _ := audio.Match(peer.Decode(t, path, coarse, channels).From(skip).To(4), programme(t, coarse, channels))
	heard := peer.Decode(t, path, fine, channels).From(skip)
	for c, l := range audio.Follow(heard, programme(t, fine, channels), at*fine/coarse) {
		if l < 0.98 {
			t.Errorf("channel %d of %s (%.1f s) is unlike the programme: %.3f at %.2f s", c, filepath.Base(path), heard.Seconds(),
				l, float64(at)/coarse)
		}
	}
}

// listen is how long to listen to the programme, which begins with each call. In 6 s there is
// speech on both sides at once; the tones and words that tell left from right come in 16 s.
func listen(channels int) time.Duration {
	if channels == 2 {
		return 16 * time.Second
	}
	return 6 * time.Second
}

// The programme in every codec that baresip speaks, as baresip decodes it.
func TestBaresipHearsTheProgramme(t *testing.T) {
	s := open(t)
	ours := s.onlyOurs(t)
	rows := []struct {
		codec, agreed string
		channels      int
	}{
		{"PCMA/8000/1", "PCMA/8000/1", 1},
		{"PCMU/8000/1", "PCMU/8000/1", 1},
		{"G722/16000/1", "G722/8000/1", 1}, // RFC 3551 4.5.2: the clock says 8000 and means 16000
		{"L16/48000/2", "L16/48000/2", 2},
		{"opus/48000/2", "opus/48000/2", 2},
		{"MPA/48000/2", "MPA/90000/1", 2}, // RFC 3555 4.1.17: without a number of channels
	}
	t.Run("codecs", func(t *testing.T) {
		for i, row := range rows {
			b := s.baresip(t, numbers[i], func(c *peer.BaresipConfig) { c.Codecs = []string{row.codec} })
			t.Run(strings.ReplaceAll(row.codec, "/", " "), func(t *testing.T) {
				t.Parallel()
				b.Register(t)
				b.Dial(t, "15000")
				b.Wait(t, "CALL_ESTABLISHED")
				b.Hears(t, listen(row.channels).Seconds())
				b.Hangup(t)
				b.Wait(t, "CALL_CLOSED")
				isProgramme(t, b.Recording(t), row.channels)
				r := ours.Record(t, numbers[i], "15000")
				if got := r.list(t, "codecs_agreed"); len(got) != 1 || !strings.EqualFold(got[0], row.agreed) {
					t.Errorf("record says codecs agreed %v, want %s", got, row.agreed)
				}
				if r.text(t, "ended_by") != "caller" {
					t.Errorf("record says ended by %q: %v", r.text(t, "ended_by"), r)
				}
			})
		}
	})
	if got := len(ours.List(t, "record")); got != len(rows) {
		t.Errorf("%d records, want %d", got, len(rows))
	}
}

// report is what `liaison call` prints.
type report struct {
	Number   string
	Answered bool
	Status   int
	Reason   string
	CallID   string `json:"call_id"`
	Codec    string
	Sent     struct{ Packets, Bytes int }
	Received struct {
		Packets, Bytes, Lost, Duplicates int
		Level                            *float64 `json:"level_dbfs"`
	}
	Error *string
}

// call runs `liaison call` on a host.
func (s *stage) call(t testing.TB, h *lab.Host, number, pass string, args ...string) (report, int) {
	t.Helper()
	args = append([]string{"call", "--account", number, "--password", pass, "--server", serverAddr + ":5060"}, args...)
	out, stderr, code := runHere(t, h.Command(binary(t), args...))
	var r report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("liaison %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr)
	}
	return r, code
}

func TestLiaisonCallHearsTheProgramme(t *testing.T) {
	s := open(t)
	ours := s.onlyOurs(t)
	rows := []struct {
		codec, transport string
		channels         int
		measured         bool // it has a decoder for that codec and says how loud it was
	}{
		{"PCMA", "udp", 1, true}, {"PCMU", "tcp", 1, true}, {"G722", "udp", 1, true},
		{"L16/48000/2", "tcp", 2, true}, {"MPA", "udp", 2, false},
	}
	var hosts []*lab.Host
	for range rows {
		hosts = append(hosts, s.site(t))
	}
	t.Run("codecs", func(t *testing.T) {
		for i, row := range rows {
			t.Run(strings.ReplaceAll(row.codec, "/", " ")+" over "+row.transport, func(t *testing.T) {
				t.Parallel()
				file := filepath.Join(lab.Dir(t), "heard.wav")
				if row.codec == "MPA" {
					file = filepath.Join(lab.Dir(t), "heard.mp2")
				}
				r, code := s.call(t, hosts[i], numbers[i], password(numbers[i]),
					"--codec", row.codec, "--transport", row.transport, "--for", listen(row.channels).String(), "--wav", file, "15000")
				if code != 0 || !r.Answered || r.Status != 200 || r.Error != nil {
					t.Fatalf("exit %d, %+v", code, r)
				}
				if r.Received.Packets < 200 || r.Sent.Packets < 200 || r.Received.Lost > 0 || r.Received.Duplicates > 0 {
					t.Errorf("%+v", r)
				}
				if (r.Received.Level != nil) != row.measured {
					t.Errorf("level is %v", r.Received.Level)
				}
				isProgramme(t, file, row.channels)
				found := false
				for _, record := range ours.List(t, "record") {
					found = found || record.text(t, "call_id") == r.CallID && record.text(t, "callee") == "15000"
				}
				if !found {
					t.Errorf("no record of call %s", r.CallID)
				}
			})
		}
	})
	t.Run("a wrong password is said in JSON and by the exit status", func(t *testing.T) {
		r, code := s.call(t, s.site(t), numbers[0], "wrong", "--for", "1s", "15000")
		if code != 1 || r.Answered || r.Error == nil {
			t.Errorf("exit %d, %+v", code, r)
		}
	})
	t.Run("a number that does not exist", func(t *testing.T) {
		r, code := s.call(t, s.site(t), numbers[0], password(numbers[0]), "--for", "1s", "45679999")
		if code != 1 || r.Answered || r.Status != 404 {
			t.Errorf("exit %d, %+v", code, r)
		}
	})
	t.Run("the programme is switched off and on", func(t *testing.T) {
		ours.Run(t, "test", "off", "15000")
		h := s.site(t)
		lab.Eventually(t, peer.Soon, "15000 is not to be reached", func() bool {
			r, code := s.call(t, h, numbers[0], password(numbers[0]), "--for", "1s", "15000")
			return code == 1 && !r.Answered && r.Status >= 400
		})
		ours.Run(t, "test", "on", "15000")
		lab.Eventually(t, peer.Soon, "15000 answers again", func() bool {
			_, code := s.call(t, h, numbers[0], password(numbers[0]), "--for", "1s", "15000")
			return code == 0
		})
	})
}

// `liaison agent` as callee of softphones.
func TestLiaisonAgentAnswers(t *testing.T) {
	s := open(t)
	s.onlyOurs(t)
	caller := s.baresip(t, "45675001", func(c *peer.BaresipConfig) { c.Codecs = []string{"PCMA/8000/1"} })
	caller.Register(t)
	h := s.site(t)
	start := func(t *testing.T, answer string) *lab.Process {
		t.Helper()
		p := lab.Start(t, "liaison agent "+answer, h.Command(binary(t), "agent", "--account", "45675002",
			"--password", password("45675002"), "--server", serverAddr+":5060", "--answer", answer))
		p.Line(t, peer.Soon, `^registered 45675002 at `)
		return p
	}
	for _, row := range []struct {
		answer string
		check  func(t *testing.T)
	}{
		{"programme", func(t *testing.T) {
			caller.Wait(t, "CALL_ESTABLISHED")
			caller.Hears(t, 6)
			caller.Hangup(t)
			caller.Wait(t, "CALL_CLOSED")
			isProgramme(t, caller.Recording(t), 1)
		}},
		{"echo", func(t *testing.T) {
			caller.Wait(t, "CALL_ESTABLISHED")
			// It hears its own tone, and nothing of the other's.
			hears(t, "the caller", caller.Hears(t, 1.5), 440, 1000)
			caller.Hangup(t)
			caller.Wait(t, "CALL_CLOSED")
		}},
		{"busy", func(t *testing.T) {
			if e := caller.Wait(t, "CALL_CLOSED"); !strings.HasPrefix(e.Param, "486 ") {
				t.Errorf("the caller gets %q, want 486", e.Param)
			}
		}},
		{"ring", func(t *testing.T) {
			caller.Wait(t, "CALL_RINGING")
			caller.Hangup(t)
			caller.Wait(t, "CALL_CLOSED")
		}},
	} {
		t.Run(row.answer, func(t *testing.T) {
			p := start(t, row.answer)
			caller.Dial(t, "5002")
			row.check(t)
			p.Stop(t, peer.Soon)
		})
	}
}
