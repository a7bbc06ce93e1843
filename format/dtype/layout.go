package dtype

import "math"

// A layout describes a binary float dtype: a sign bit, exponent bits, mantissa
// bits. The magnitude of a value is its bits without the sign.
type layout struct {
	width    int    // bytes
	mantissa int    // bits after the leading one
	emin     int    // exponent of the smallest normal value
	max      uint64 // magnitude of the largest finite value
	overflow uint64 // bits of what is beyond max, without sign
	nan      uint64 // the NaN that encoders write
	sign     uint64 // sign bit
	fnuz     bool   // no negative zero; its bits are the NaN
}

var (
	binary64 = layout{width: 8, mantissa: 52, emin: -1022, max: 0x7fefffffffffffff, overflow: 0x7ff << 52, nan: 0x7ff8 << 48, sign: 1 << 63}
	binary32 = layout{width: 4, mantissa: 23, emin: -126, max: 0x7f7fffff, overflow: 0x7f800000, nan: 0x7fc00000, sign: 1 << 31}
	binary16 = layout{width: 2, mantissa: 10, emin: -14, max: 0x7bff, overflow: 0x7c00, nan: 0x7e00, sign: 1 << 15}
	bfloat16 = layout{width: 2, mantissa: 7, emin: -126, max: 0x7f7f, overflow: 0x7f80, nan: 0x7fc0, sign: 1 << 15}
)

const sign64 = 1 << 63

// pow2 returns 2^e for an exponent e of normal float64 values.
func pow2(e int) float64 { return math.Float64frombits(uint64(e+1023) << 52) }

// shift returns how many bits shorter than a float64's the mantissa is.
func (l *layout) shift() uint { return uint(52-l.mantissa) & 63 }

// rebias returns what the bits of a normal value, shifted up by shift, lack to
// those of the same float64.
func (l *layout) rebias() uint64 { return uint64(l.emin-1+1023) << 52 }

// signed adds the sign bit of the float64 bits u.
func (l *layout) signed(magnitude, u uint64) uint64 {
	if u < sign64 || l.fnuz && (magnitude == 0 || magnitude == l.nan) {
		return magnitude
	}
	return magnitude | l.sign
}

// finite returns the value of a magnitude up to max, which is exact.
func (l *layout) finite(magnitude uint64) float64 {
	if magnitude>>(uint(l.mantissa)&63) != 0 || l.mantissa == 52 {
		return math.Float64frombits(magnitude<<l.shift() + l.rebias())
	}
	return float64(magnitude) * pow2(l.emin-l.mantissa) // subnormal
}

// value returns the value of bits. NaN loses its payload and sign.
func (l *layout) value(bits uint64) float64 {
	magnitude := bits &^ l.sign
	var u uint64
	switch {
	case l.fnuz && bits == l.nan:
		return math.NaN()
	case magnitude <= l.max:
		u = math.Float64bits(l.finite(magnitude))
	case magnitude == l.overflow && l.overflow != l.nan:
		u = 0x7ff << 52
	default:
		return math.NaN()
	}
	if bits&l.sign != 0 {
		u |= sign64
	}
	return math.Float64frombits(u)
}

// round returns the bits of x rounded to nearest, ties to even, once. It is
// not for binary64.
func (l *layout) round(x float64) uint64 {
	u := math.Float64bits(x)
	a := u &^ sign64
	if a > 0x7ff<<52 {
		return l.nan
	}
	var magnitude uint64
	if normal := l.rebias() + 1<<52; a < normal {
		// The last bit of one is worth that of the dtype, so that the
		// addition does the rounding.
		one := pow2(l.emin - l.mantissa + 52)
		magnitude = math.Float64bits(math.Float64frombits(a)+one) - math.Float64bits(one)
	} else {
		s := l.shift()
		a -= l.rebias()
		magnitude = (a + 1<<(s-1) - 1 + a>>s&1) >> s
	}
	if magnitude > l.max {
		magnitude = l.overflow
	}
	return l.signed(magnitude, u)
}

// truncate returns the magnitude of |x| rounded toward zero, at most max. x is
// not NaN.
func (l *layout) truncate(x float64) uint64 {
	a := math.Float64bits(x) &^ sign64
	if l.mantissa != 52 && a < l.rebias()+1<<52 {
		return uint64(math.Float64frombits(a) * pow2(l.mantissa-l.emin))
	}
	return min((a-l.rebias())>>l.shift(), l.max)
}

// Precision returns the number of explicit mantissa bits of a Float dtype and
// the exponent of its smallest normal value.
func (d DType) Precision() (mantissa, minExponent int) {
	l := d.float()
	return l.mantissa, l.emin
}
