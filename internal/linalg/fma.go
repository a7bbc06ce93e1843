package linalg

import (
	"math"
	"unsafe"
)

// narrow reports whether T has 32 bits.
func narrow[T Float]() bool {
	var x T
	return unsafe.Sizeof(x) == 4
}

// fma returns x·y + z, rounded once to T.
func fma[T Float](x, y, z T) T {
	if narrow[T]() {
		return T(fma32(float32(x), float32(y), float32(z)))
	}
	return T(math.FMA(float64(x), float64(y), float64(z)))
}

// fma32 returns x·y + z, rounded once to float32.
//
// The product of two float32 values is exact in float64, so s, the float64
// sum, is off by one rounding, and rounding it again to float32 can go wrong
// only where s is a midpoint of two float32 values (low 29 bits 1 followed by
// zeros) or where float32 has fewer than 24 bits (subnormal results). There
// s is first rounded to odd (Boldo and Melquiond 2008, theorem 1) with the
// error of the sum (Knuth's TwoSum).
func fma32(x, y, z float32) float32 {
	const (
		low       = 1<<29 - 1 // the 53-24 bits that float32 lacks
		half      = 1 << 28
		minNormal = 0x1p-126
	)
	p := float64(float64(x) * float64(y))
	s := p + float64(z)
	if math.Float64bits(s)&low != half && math.Abs(s) >= minNormal {
		return float32(s)
	}
	return float32(roundToOdd(p, float64(z), s))
}

// roundToOdd returns p+z rounded to odd, given s, p+z rounded to nearest: s
// if that is exact or odd, or else the neighbour of s on the other side.
func roundToOdd(p, z, s float64) float64 {
	v := s - p
	e := (p - (s - v)) + (z - v)
	bits := math.Float64bits(s)
	if bits&1 != 0 || !(e > 0 || e < 0) {
		return s
	}
	if (e > 0) == (s > 0) {
		return math.Float64frombits(bits + 1)
	}
	return math.Float64frombits(bits - 1)
}
