package dtype

import (
	"encoding/binary"
	"math"
)

// Neighbours returns the two adjacent values of a Float dtype that enclose x,
// with their bits: equal if x is a value of d, and both the largest finite
// value (or the one of least) if x is finite and beyond it. What is not finite
// is its own neighbour, or NaN in dtypes without infinity. A zero below a
// positive or above a negative x has the sign of x where d has a negative zero.
func (d DType) Neighbours(x float64) (low, high float64, lowBits, highBits uint64) {
	l := d.float()
	u := math.Float64bits(x)
	if u&^sign64 >= 0x7ff<<52 {
		bits := l.nan
		if x == x {
			bits = l.signed(l.overflow, u)
		}
		v := l.value(bits)
		return v, v, bits, bits
	}
	inner := l.truncate(x)
	v := l.finite(inner)
	outer, w := inner, v
	if v != math.Abs(x) && inner != l.max {
		outer = inner + 1
		w = l.finite(outer)
	}
	innerBits, outerBits := l.signed(inner, u), l.signed(outer, u)
	if u < sign64 {
		return v, w, innerBits, outerBits
	}
	if innerBits == 0 {
		return 0 - w, 0, outerBits, 0 // no negative zero
	}
	return -w, -v, outerBits, innerBits
}

// Ordinal maps the bits of a Float dtype to integers in the order of their
// values: −0 comes just before +0, and NaNs beyond the infinities. In the FNUZ
// dtypes the NaN takes the place of −0.
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
	switch d.float().width {
	case 2:
		return uint64(binary.LittleEndian.Uint16(src[2*i:]))
	case 4:
		return uint64(binary.LittleEndian.Uint32(src[4*i:]))
	case 8:
		return binary.LittleEndian.Uint64(src[8*i:])
	}
	return uint64(src[i])
}
