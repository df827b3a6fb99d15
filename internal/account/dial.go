package account

import "maps"

// Dial finds the number that a caller means. Of the digits that were dialled, four are first taken as the last four of
// a number of the caller's own group; everything else, and four digits that nobody of the group has, is a number as it
// stands. It is false if there is no such number.
func (d *Directory) Dial(caller *Account, dialled []byte) (Number, bool) {
	if caller != nil && caller.Kind.Grouped() && caller.Subscriber != 0 && len(dialled) == shortLen && digits(dialled) {
		if n, ok := d.short(caller, dialled); ok {
			return n, true
		}
	}
	if a, ok := d.Account(dialled); ok {
		return a.Number, true
	}
	return "", false
}

// short finds the number of the caller's group that ends in these four digits. By the number plan it is the prefix and
// these; numbers that were taken over from elsewhere may be as long as the caller's, or so short that prefix and
// ending overlap.
func (d *Directory) short(caller *Account, last []byte) (Number, bool) {
	prefix, ok := d.prefix(caller.Subscriber)
	if !ok {
		if prefix, ok = caller.Number.Prefix(); !ok {
			return "", false
		}
	}
	var b [MaxNumber]byte
	try := func(begin string) (Number, bool) {
		n := append(append(b[:0], begin...), last...)
		a, ok := d.Account(n)
		if !ok || a.Subscriber != caller.Subscriber || !a.Kind.Grouped() {
			return "", false
		}
		return a.Number, true
	}
	if n, ok := try(prefix); ok {
		return n, true
	}
	if l := len(caller.Number); l > PrefixLen+shortLen {
		if n, ok := try(string(caller.Number[:l-shortLen])); ok {
			return n, true
		}
	}
	for l := PrefixLen - 1; l > 0; l-- {
		// The digits that both cover must be the same in both.
		if prefix[l:] == string(last[:PrefixLen-l]) {
			if n, ok := try(prefix[:l]); ok {
				return n, true
			}
		}
	}
	return "", false
}

// SetPrefixes says which prefix the group of each of these subscribers has.
func (d *Directory) SetPrefixes(prefixes map[int64]string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	old := *d.prefixes.Load()
	m := make(map[int64]string, len(old)+len(prefixes))
	maps.Copy(m, old)
	maps.Copy(m, prefixes)
	d.prefixes.Store(&m)
}

func (d *Directory) prefix(subscriber int64) (string, bool) {
	p, ok := (*d.prefixes.Load())[subscriber]
	return p, ok && len(p) == PrefixLen
}
