//go:build e2e

package peer

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"liaison/e2e/audio"
	"liaison/e2e/lab"
)

// Decode lets ffmpeg decode a file and convert it to a rate and a number of channels. What the
// file's name does not say about its format, options before the input do.
func Decode(t testing.TB, path string, rate, channels int, options ...string) *audio.Recording {
	t.Helper()
	lab.Need(t, "ffmpeg")
	out := filepath.Join(lab.Dir(t), "decoded.wav")
	args := append([]string{"-v", "error", "-nostdin"}, options...)
	args = append(args, "-i", path, "-ar", strconv.Itoa(rate), "-ac", strconv.Itoa(channels), "-c:a", "pcm_s16le", out)
	if text, err := exec.Command("ffmpeg", args...).CombinedOutput(); err != nil {
		t.Fatalf("ffmpeg %s: %v\n%s", path, err, text)
	}
	r, err := audio.ReadWAV(out)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
