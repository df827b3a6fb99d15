package store

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"time"
)

// Groups of changes are kept packed in one row: a row of its own costs ten times what the rest of a registration does.
// Numbers are varints, text has its length in front, times are milliseconds.

var errPacked = errors.New("a packed row is damaged")

func packText[T ~string | ~[]byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func packTime(b []byte, t time.Time) []byte { return binary.AppendVarint(b, toMillis(t)) }

// toMillis gives 0 for the zero time.
func toMillis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

func packAddr(b []byte, a netip.AddrPort) []byte {
	text, _ := a.AppendBinary(nil) // it has no errors
	return packText(b, text)
}

// unpacker reads what was packed. After the first damage everything it gives is empty.
type unpacker struct {
	b   []byte
	err error
}

func (u *unpacker) more() bool { return u.err == nil && len(u.b) > 0 }

func (u *unpacker) fail() {
	u.b, u.err = nil, errPacked
}

func (u *unpacker) byte() byte {
	if len(u.b) == 0 {
		u.fail()
		return 0
	}
	x := u.b[0]
	u.b = u.b[1:]
	return x
}

func (u *unpacker) uint() uint64 {
	x, n := binary.Uvarint(u.b)
	if n <= 0 {
		u.fail()
		return 0
	}
	u.b = u.b[n:]
	return x
}

func (u *unpacker) int() int64 {
	x, n := binary.Varint(u.b)
	if n <= 0 {
		u.fail()
		return 0
	}
	u.b = u.b[n:]
	return x
}

// bytes is a view.
func (u *unpacker) bytes() []byte {
	n := u.uint()
	if n > uint64(len(u.b)) {
		u.fail()
		return nil
	}
	x := u.b[:n]
	u.b = u.b[n:]
	return x
}

func (u *unpacker) text() string { return string(u.bytes()) }

func (u *unpacker) time() time.Time {
	return fromMillis(u.int())
}

func (u *unpacker) addr() (a netip.AddrPort) {
	if b := u.bytes(); len(b) > 0 && a.UnmarshalBinary(b) != nil {
		u.fail()
	}
	return a
}
