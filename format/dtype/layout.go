package dtype

import "math"

// A layout describes a binary float dtype with a sign bit: exponent bits over
// mantissa bits. Its methods are the definition that faster codecs are tested
// against.
type layout struct {
	width    int // bytes
	mantissa int // bits after the leading one
	emin     int // exponent of the smallest normal value
	max      uint64
	overflow uint64 // bits of what is beyond max, without sign
	nan      uint64
	sign     uint64 // sign bit
	fnuz     bool   // no negative zero; its bits are the NaN
}

var (
	binary64 = layout{width: 8, mantissa: 52, emin: -1022, max: 0x7fefffffffffffff, overflow: 0x7ff << 52, nan: 0x7ff8 << 48, sign: 1 << 63}
	binary32 = layout{width: 4, mantissa: 23, emin: -126, max: 0x7f7fffff, overflow: 0x7f800000, nan: 0x7fc00000, sign: 1 << 31}
	binary16 = layout{width: 2, mantissa: 10, emin: -14, max: 0x7bff, overflow: 0x7c00, nan: 0x7e00, sign: 1 << 15}
	bfloat16 = layout{width: 2, mantissa: 7, emin: -126, max: 0x7f7f, overflow: 0x7f80, nan: 0x7fc0, sign: 1 << 15}

	// OCP 8-bit Floating Point Specification 1.0. E4M3 has no infinity; values
	// that round beyond 448 become NaN, as in torch and ml_dtypes.
	e5m2 = layout{width: 1, mantissa: 2, emin: -14, max: 0x7b, overflow: 0x7c, nan: 0x7e, sign: 0x80}
	e4m3 = layout{width: 1, mantissa: 3, emin: -6, max: 0x7e, overflow: 0x7f, nan: 0x7f, sign: 0x80}

	// Noune et al. 2022, "8-bit numerical formats for deep neural networks".
	e4m3fnuz = layout{width: 1, mantissa: 3, emin: -7, max: 0x7f, overflow: 0x80, nan: 0x80, sign: 0x80, fnuz: true}
	e5m2fnuz = layout{width: 1, mantissa: 2, emin: -15, max: 0x7f, overflow: 0x80, nan: 0x80, sign: 0x80, fnuz: true}
)

// value returns the value of bits. NaN loses its payload and sign.
func (l *layout) value(bits uint64) float64 {
	magnitude := bits &^ l.sign
	if magnitude > l.max || l.fnuz && bits == l.nan {
		if magnitude == l.overflow && l.overflow != l.nan {
			return math.Copysign(math.Inf(1), l.signOf(bits))
		}
		return math.NaN()
	}
	exponent := int(magnitude >> l.mantissa)
	m := magnitude & (1<<l.mantissa - 1)
	if exponent > 0 {
		m |= 1 << l.mantissa
		exponent--
	}
	return math.Copysign(math.Ldexp(float64(m), exponent+l.emin-l.mantissa), l.signOf(bits))
}

func (l *layout) signOf(bits uint64) float64 {
	if bits&l.sign != 0 {
		return -1
	}
	return 1
}

// round returns the bits of x rounded to nearest even.
func (l *layout) round(x float64) uint64 {
	if math.IsNaN(x) {
		return l.nan
	}
	bits := l.magnitude(math.Abs(x), math.RoundToEven)
	return l.signed(bits, x)
}

// magnitude rounds a ≥ 0 by the given rule. Values beyond the largest finite
// one overflow.
func (l *layout) magnitude(a float64, rule func(float64) float64) uint64 {
	if math.IsInf(a, 0) {
		return l.overflow
	}
	exponent := l.emin
	if a >= math.Ldexp(1, l.emin) {
		_, e := math.Frexp(a)
		exponent = e - 1
	}
	units := uint64(rule(math.Ldexp(a, l.mantissa-exponent)))
	// With the leading one of a normal value among the units, adding them to
	// the exponent field less one carries into it where rounding does.
	if bits := uint64(exponent-l.emin)<<l.mantissa + units; bits <= l.max {
		return bits
	}
	return l.overflow
}

// signed adds the sign of x.
func (l *layout) signed(bits uint64, x float64) uint64 {
	if !math.Signbit(x) || l.fnuz && (bits == 0 || bits == l.nan) {
		return bits
	}
	return bits | l.sign
}

func (l *layout) maxFinite() float64 { return l.value(l.max) }

func (l *layout) decode32(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = float32(l.value(uint64(src[i])))
	}
}

func (l *layout) decode64(dst []float64, src []byte) {
	for i := range dst {
		dst[i] = l.value(uint64(src[i]))
	}
}

func (l *layout) encode32(dst []byte, src []float32) {
	for i, x := range src {
		dst[i] = byte(l.round(float64(x)))
	}
}

func (l *layout) encode64(dst []byte, src []float64) {
	for i, x := range src {
		dst[i] = byte(l.round(x))
	}
}
