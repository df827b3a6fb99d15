package agent

// ITU-T G.711: tables from octet to linear, computed once per receiver that needs one; 256 entries are no cost.

func alawTable() (t [256]int16) {
	for i := range t {
		v := byte(i) ^ 0x55 // even bits are inverted on the line
		segment, step := v>>4&7, int(v&15)
		linear := step<<4 + 8
		if segment > 0 {
			linear = (linear + 256) << (segment - 1)
		}
		if v&0x80 == 0 {
			linear = -linear
		}
		t[i] = int16(linear)
	}
	return t
}

func mulawTable() (t [256]int16) {
	for i := range t {
		v := ^byte(i) // all bits are inverted on the line
		segment, step := v>>4&7, int(v&15)
		linear := (step<<3+0x84)<<segment - 0x84
		if v&0x80 != 0 {
			linear = -linear
		}
		t[i] = int16(linear)
	}
	return t
}
