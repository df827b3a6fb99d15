package agent

import "math"

// level is the loudness of decoded audio over all that was heard.
type level struct {
	squares float64
	count   int
}

func (l *level) add(samples []int16) {
	sum := 0.0
	for _, v := range samples {
		f := float64(v)
		sum += f * f
	}
	l.squares += sum
	l.count += len(samples)
}

// dBFS is the level as broadcast meters show it (AES17: a full-scale sine is 0 dBFS, so the alignment tone of
// the programme reads -18), not below -120; nil if nothing was decoded.
func (l *level) dBFS() *float64 {
	if l.count == 0 {
		return nil
	}
	power := l.squares / float64(l.count) / (32768 * 32768 / 2)
	v := max(10*math.Log10(power), -120)
	v = math.Round(v*10) / 10
	return &v
}
