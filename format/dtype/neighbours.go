package dtype

import (
	"encoding/binary"
	"math"
)

// Neighbours returns the two adjacent values of a Float dtype that enclose x,
// with their bits: equal if x is a value of d or is not finite, and both the
// largest finite value if x is beyond it.
func (d DType) Neighbours(x float64) (low, high float64, lowBits, highBits uint64) {
	l := d.float()
	toward := l.towardZero(x)
	v := l.value(toward)
	if v == x || math.IsNaN(x) || math.IsInf(x, 0) || toward&^l.sign == l.max {
		return v, v, toward, toward
	}
	away := toward + 1
	if l.fnuz && toward == 0 && math.Signbit(x) {
		away = l.sign | 1
	}
	w := l.value(away)
	if x < 0 {
		return w, v, away, toward
	}
	return v, w, toward, away
}

// towardZero returns the bits of x rounded toward zero.
func (l *layout) towardZero(x float64) uint64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return l.round(x)
	}
	switch l.mantissa {
	case 52:
		return math.Float64bits(x)
	case 23:
		return uint64(floor32(x))
	case 7:
		return uint64(floor32(x) >> 16)
	}
	bits := l.magnitude(math.Abs(x), math.Floor)
	if bits == l.overflow && !math.IsInf(x, 0) {
		bits = l.max
	}
	return l.signed(bits, x)
}

// floor32 returns the bits of x as float32, rounded toward zero.
func floor32(x float64) uint32 {
	f := float32(x)
	u := math.Float32bits(f)
	if math.Abs(float64(f)) > math.Abs(x) {
		u--
	}
	return u
}

// Ordinal maps the bits of a Float dtype to integers in the order of their
// values: −0 comes just before +0, and NaNs beyond the infinities.
func (d DType) Ordinal(bits uint64) int64 {
	l := d.float()
	if bits&l.sign != 0 {
		return -int64(bits&^l.sign) - 1
	}
	return int64(bits)
}

// FromOrdinal is the inverse of Ordinal.
func (d DType) FromOrdinal(n int64) uint64 {
	if n < 0 {
		return uint64(-n-1) | d.float().sign
	}
	return uint64(n)
}

// Bits64 returns the bits of element i of a tensor's bytes.
func (d DType) Bits64(src []byte, i int) uint64 {
	width := d.float().width
	var b [8]byte
	copy(b[:], src[i*width:(i+1)*width])
	return binary.LittleEndian.Uint64(b[:])
}
