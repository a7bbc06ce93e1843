package dtype

import (
	"encoding/binary"
	"math"
	"unsafe"
)

func decode32BF16(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(src[2*i:])) << 16)
	}
}

func decode64BF16(dst []float64, src []byte) {
	for i := range dst {
		dst[i] = float64(math.Float32frombits(uint32(binary.LittleEndian.Uint16(src[2*i:])) << 16))
	}
}

func encode32BF16(dst []byte, src []float32) {
	for i, x := range src {
		binary.LittleEndian.PutUint16(dst[2*i:], bf16FromFloat32(math.Float32bits(x)))
	}
}

func encode64BF16(dst []byte, src []float64) {
	for i, x := range src {
		binary.LittleEndian.PutUint16(dst[2*i:], bf16FromFloat32(oddFloat32(x)))
	}
}

// bf16FromFloat32 rounds the bits of a float32 to nearest even; every NaN
// becomes the positive quiet NaN.
func bf16FromFloat32(u uint32) uint16 {
	if u&0x7fffffff > 0x7f800000 {
		return uint16(bfloat16.nan)
	}
	return uint16((u + 0x7fff + u>>16&1) >> 16)
}

// oddFloat32 rounds x to the bits of a float32, inexact values to the
// neighbour whose last bit is odd, so that rounding them again to a dtype of
// at most 22 significant bits is rounding x (Boldo and Melquiond 2008).
func oddFloat32(x float64) uint32 {
	f := float32(x)
	u := math.Float32bits(f)
	if float64(f) == x || u&1 == 1 || x != x {
		return u
	}
	if math.Abs(float64(f)) > math.Abs(x) {
		return u - 1
	}
	return u + 1
}

func decode32F16(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = math.Float32frombits(float32FromF16(binary.LittleEndian.Uint16(src[2*i:])))
	}
}

func decode64F16(dst []float64, src []byte) {
	for i := range dst {
		dst[i] = float64(math.Float32frombits(float32FromF16(binary.LittleEndian.Uint16(src[2*i:]))))
	}
}

func encode32F16(dst []byte, src []float32) {
	for i, x := range src {
		binary.LittleEndian.PutUint16(dst[2*i:], f16FromFloat32(math.Float32bits(x)))
	}
}

func encode64F16(dst []byte, src []float64) {
	for i, x := range src {
		binary.LittleEndian.PutUint16(dst[2*i:], f16FromFloat32(oddFloat32(x)))
	}
}

// float32FromF16 returns the bits of a binary16 value as float32; every NaN
// becomes quiet and keeps its payload.
func float32FromF16(h uint16) uint32 {
	sign := uint32(h&0x8000) << 16
	m := uint32(h & 0x7fff)
	switch {
	case m >= 0x7c00:
		if m > 0x7c00 {
			m |= 0x200
		}
		return sign | 0x7f800000 | (m&0x3ff)<<13
	case m < 0x400: // subnormal: m·2⁻²⁴ is exact
		return sign | math.Float32bits(float32(m)*0x1p-24)
	}
	return sign | (m<<13 + (127-15)<<23)
}

// f16FromFloat32 rounds the bits of a float32 to nearest even; every NaN
// becomes the positive quiet NaN.
func f16FromFloat32(u uint32) uint16 {
	sign := uint16(u >> 16 & 0x8000)
	a := u & 0x7fffffff
	switch {
	case a > 0x7f800000:
		return uint16(binary16.nan)
	case a >= 0x47800000: // 2^16 and above
		return sign | 0x7c00
	case a < 0x38800000: // below 2^-14: adding 1/2 leaves units of 2^-24 in the last bits
		f := math.Float32frombits(a) + 0.5
		return sign | uint16(math.Float32bits(f)-0x3f000000)
	}
	a -= (127 - 15) << 23
	return sign | uint16((a+0xfff+a>>13&1)>>13)
}

func decode32F32(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
	}
}

func decode64F32(dst []float64, src []byte) {
	for i := range dst {
		dst[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:])))
	}
}

func encode32F32(dst []byte, src []float32) {
	for i, x := range src {
		binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(x))
	}
}

func encode64F32(dst []byte, src []float64) {
	for i, x := range src {
		binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(float32(x)))
	}
}

func decode32F64(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(src[8*i:])))
	}
}

func decode64F64(dst []float64, src []byte) {
	for i := range dst {
		dst[i] = math.Float64frombits(binary.LittleEndian.Uint64(src[8*i:]))
	}
}

func encode32F64(dst []byte, src []float32) {
	for i, x := range src {
		binary.LittleEndian.PutUint64(dst[8*i:], math.Float64bits(float64(x)))
	}
}

func encode64F64(dst []byte, src []float64) {
	for i, x := range src {
		binary.LittleEndian.PutUint64(dst[8*i:], math.Float64bits(x))
	}
}

// decodeE8M0 reads powers of two; 255 is NaN (OCP Microscaling Formats 1.0).
func decodeE8M0(dst []float64, src []byte) {
	for i, b := range src {
		if dst[i] = math.Ldexp(1, int(b)-127); b == 255 {
			dst[i] = math.NaN()
		}
	}
}

// decodeInts reads little-endian integers.
func decodeInts[T int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64](dst []float64, src []byte) {
	width := int(unsafe.Sizeof(T(0)))
	for i := range dst {
		var u uint64
		for k := width - 1; k >= 0; k-- {
			u = u<<8 | uint64(src[i*width+k])
		}
		dst[i] = float64(T(u))
	}
}
