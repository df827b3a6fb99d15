package account

import (
	"fmt"
	"iter"
)

// The number plan. A premium number is a prefix of four digits and a sequence of four: 4567 5001. Sequences in front
// of 5001 are free for what the operator gives by hand; 6000 is the base number of a hunt series.
const (
	firstPremium, lastPremium = 5001, 5999
	firstHunt, lastHunt       = 6001, 6999
)

// Prefixes that are allocated. Those below lie in the factory range 10000000-19999999, and whoever calls the test
// numbers 15000-15999 should not think of a group either.
const firstPrefix, lastPrefix = 2000, 9999

// Sequence gives the numbers of a kind under a prefix in the order in which they are sold, from the one after last
// on; last 0 starts the sequence. It is empty for kinds that have no sequence of a group.
func Sequence(prefix string, kind Kind, last int) iter.Seq2[int, Number] {
	from, to := sequence(kind)
	return func(yield func(int, Number) bool) {
		for n := max(from, last+1); n <= to; n++ {
			if !yield(n, Number(fmt.Sprintf("%s%04d", prefix, n))) {
				return
			}
		}
	}
}

// SequenceFull is the error of a group that has no number of a kind left.
func SequenceFull(prefix string, kind Kind) error {
	from, to := sequence(kind)
	return fmt.Errorf("the numbers %[1]s%[2]d to %[1]s%[3]d of the group %[1]s are all given: give this subscriber a second prefix", prefix, from, to)
}

func sequence(kind Kind) (from, to int) {
	switch kind {
	case Premium, Mobile:
		return firstPremium, lastPremium
	case Hunt:
		return firstHunt, lastHunt
	}
	return 1, 0
}

// ParsePrefix reads a prefix that an operator chose for a group.
func ParsePrefix(s string) error {
	switch {
	case len(s) != PrefixLen || !digits(s):
		return fmt.Errorf("the prefix %q is not four digits", s)
	case s[0] == '0':
		return fmt.Errorf("the prefix %s begins with 0: choose one from 2000 to 9999", s)
	case s[0] == '1':
		return fmt.Errorf("the numbers of the prefix %s lie in the factory range 10000000-19999999: choose one from 2000 to 9999", s)
	}
	return nil
}

// FreePrefix is the first prefix that is not taken. Taken is asked in rising order.
func FreePrefix(taken func(prefix string) bool) (string, error) {
	for n := firstPrefix; n <= lastPrefix; n++ {
		if p := fmt.Sprint(n); !taken(p) {
			return p, nil
		}
	}
	return "", fmt.Errorf("the prefixes from %d to %d are all given", firstPrefix, lastPrefix)
}

// InSequence tells whether n is one of the last four digits that the sequence of a kind gives.
func InSequence(kind Kind, n int) bool {
	from, to := sequence(kind)
	return from <= n && n <= to
}
