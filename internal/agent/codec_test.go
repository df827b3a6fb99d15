package agent

import (
	"strings"
	"testing"
	"time"
)

func TestParseCodec(t *testing.T) {
	rows := []struct{ in, want string }{
		{"PCMA", "PCMA/8000/1"},
		{"pcmu", "PCMU/8000/1"},
		{"g722", "G722/8000/1"},
		{"G722/8000", "G722/8000/1"},
		{"L16", "L16/48000/2"},
		{"L16/48000", "L16/48000/1"},
		{"l16/48000/2", "L16/48000/2"},
		{"Opus", "opus/48000/2"},
		{"mpa", "MPA/90000/1"},
	}
	for _, row := range rows {
		c, err := ParseCodec(row.in)
		if err != nil || c.String() != row.want {
			t.Errorf("%s: %v %v, want %s", row.in, c, err, row.want)
		}
	}
	if _, err := ParseCodec("mp3"); err == nil || !strings.Contains(err.Error(), "PCMA/8000/1") {
		t.Errorf("the error does not say what to use: %v", err)
	}
}

func TestPtime(t *testing.T) {
	const ms = time.Millisecond
	rows := []struct {
		name, codec string
		asked, want time.Duration
	}{
		{"G.711 goes in 20 ms", "PCMA", 0, 20 * ms},
		{"a codec that wants 4 ms gets them", "PCMA", 4 * ms, 4 * ms},
		{"any whole millisecond will do", "G722", 7 * ms, 7 * ms},
		{"parts of one will not", "PCMU", 2500 * time.Microsecond, 2 * ms},
		{"never below one", "PCMU", 100 * time.Microsecond, 1 * ms},
		{"never over what fits a packet", "PCMU", time.Second, 150 * ms},
		{"linear stereo goes in 5 ms", "L16/48000/2", 0, 5 * ms},
		{"20 ms of linear stereo do not fit", "L16/48000/2", 20 * ms, 6 * ms},
		{"nor do they in mono", "L16/48000/1", 20 * ms, 12 * ms},
		{"Opus packets are 20 ms as they were made", "opus", 10 * ms, 20 * ms},
		{"a frame of Layer II is 24 ms", "MPA", 20 * ms, 24 * ms},
	}
	for _, row := range rows {
		c, err := ParseCodec(row.codec)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Ptime(row.asked); got != row.want {
			t.Errorf("%s: %v, want %v", row.name, got, row.want)
		}
	}
}
