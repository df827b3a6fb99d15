package agent

// g722Decoder turns 64 kbit/s into 16-bit audio at 16 kHz: ITU-T G.722 clause 4, mode 1. Two ADPCM decoders,
// one per half of the spectrum, and a quadrature mirror filter that puts the halves together. All arithmetic
// is in 16-bit words with saturation, as the Recommendation has it, so that decoders stay in step for ever.
//
// Block names (INVQBL, LOGSCL ...) are the Recommendation's.
type g722Decoder struct {
	low, high g722Band
	history   [24]int // of the mirror filter: sums on even, differences on odd places
	ready     bool
}

// g722Band is one adaptive predictor with its quantiser scale.
type g722Band struct {
	scaleLog int // NBL, NBH
	scale    int // DETL, DETH

	zeros [7]int // coefficients b1..b6
	diffs [7]int // quantised differences, newest at 0
	poles [3]int // a1, a2
	recon [3]int // reconstructed signal
	parts [3]int // partially reconstructed signal

	zeroPart int // SZ
	estimate int // S
}

var (
	g722Low6  = [32]int{-136, -136, -136, -136, -24808, -21904, -19008, -16704, -14984, -13512, -12280, -11192, -10232, -9360, -8576, -7856, -7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576, -3168, -2776, -2400, -2032, -1688, -1360, -1040, -728}
	g722Low4  = [16]int{0, -20456, -12896, -8968, -6288, -4240, -2584, -1200, 20456, 12896, 8968, 6288, 4240, 2584, 1200, 0}
	g722High2 = [4]int{-7408, -1616, 7408, 1616}

	g722LowStep  = [16]int{-60, 3042, 1198, 538, 334, 172, 58, -30, 3042, 1198, 538, 334, 172, 58, -30, -60} // WL by 4-bit code
	g722HighStep = [4]int{798, -214, 798, -214}                                                              // WH by code

	g722Antilog = [32]int{2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834, 2896, 2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008}

	g722Mirror = [12]int{3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11}
)

// lowDifference is the 6-bit inverse quantiser. The table's second half mirrors the first but for its ends.
func g722LowDifference(code int) int {
	switch {
	case code < 32:
		return g722Low6[code]
	case code < 60:
		return -g722Low6[code-28]
	}
	return [4]int{432, 136, -432, -136}[code-60]
}

func sat16(v int) int { return min(max(v, -32768), 32767) }

// decode appends two samples for every octet.
func (d *g722Decoder) decode(dst []int16, octets []byte) []int16 {
	if !d.ready {
		d.low.scale, d.high.scale, d.ready = 32, 8, true
	}
	for _, octet := range octets {
		code := int(octet & 0x3f)
		low := d.low.estimate + d.low.scale*g722LowDifference(code)>>15
		low = min(max(low, -16384), 16383) // LIMIT
		d.low.adapt(d.low.scale*g722Low4[code>>2]>>15, g722LowStep[code>>2], 18432, 8)

		code = int(octet >> 6)
		difference := d.high.scale * g722High2[code] >> 15
		high := min(max(d.high.estimate+difference, -16384), 16383)
		d.high.adapt(difference, g722HighStep[code], 22528, 10)

		copy(d.history[:], d.history[2:])
		d.history[22], d.history[23] = low+high, low-high
		even, odd := 0, 0
		for i, c := range g722Mirror {
			even += d.history[2*i] * c
			odd += d.history[2*i+1] * g722Mirror[11-i]
		}
		dst = append(dst, int16(sat16(odd>>11)), int16(sat16(even>>11)))
	}
	return dst
}

// adapt takes a quantised difference into the scale and the predictor and makes the next estimate.
func (b *g722Band) adapt(difference, step, most, shift int) {
	// LOGSCL, SCALEL.
	b.scaleLog = min(max(b.scaleLog*127>>7+step, 0), most)
	b.scale = g722Antilog[b.scaleLog>>6&31] << 2
	if down := shift - b.scaleLog>>11; down >= 0 {
		b.scale = g722Antilog[b.scaleLog>>6&31] >> down << 2
	} else {
		b.scale = g722Antilog[b.scaleLog>>6&31] << -down << 2
	}

	// RECONS, PARREC.
	b.diffs[0] = difference
	b.recon[0] = sat16(b.estimate + difference)
	b.parts[0] = sat16(b.zeroPart + difference)

	// UPPOL2, UPPOL1: signs of the partial signal drive the poles.
	same := func(x, y int) int {
		if x < 0 == (y < 0) {
			return 1
		}
		return -1
	}
	one, two := same(b.parts[0], b.parts[1]), same(b.parts[0], b.parts[2])
	drive := min(-one*sat16(b.poles[1]<<2), 32767)
	second := min(max(drive>>7+two*128+b.poles[2]*32512>>15, -12288), 12288)
	limit := sat16(15360 - second)
	first := min(max(sat16(one*192+b.poles[1]*32640>>15), -limit), limit)

	// UPZERO.
	for i := 6; i > 0; i-- {
		v := b.zeros[i] * 32640 >> 15
		if difference != 0 {
			v += same(difference, b.diffs[i]) * 128
		}
		b.zeros[i] = sat16(v)
	}

	// DELAYA.
	copy(b.diffs[1:], b.diffs[:6])
	copy(b.recon[1:], b.recon[:2])
	copy(b.parts[1:], b.parts[:2])
	b.poles[1], b.poles[2] = first, second

	// FILTEP, FILTEZ, PREDIC.
	polePart := sat16(b.poles[1]*sat16(2*b.recon[1])>>15 + b.poles[2]*sat16(2*b.recon[2])>>15)
	b.zeroPart = 0
	for i := 6; i > 0; i-- {
		b.zeroPart += b.zeros[i] * sat16(2*b.diffs[i]) >> 15
	}
	b.zeroPart = sat16(b.zeroPart)
	b.estimate = sat16(polePart + b.zeroPart)
}
