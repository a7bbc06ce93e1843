package dtype

import (
	"encoding/binary"
	"math"
)

func decode32BF16(k *kernels, dst []float32, src []byte) {
	n := head(k.decode32BF16, len(dst), dst, src)
	for i := n; i < len(dst); i++ {
		dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(src[2*i:])) << 16)
	}
}

func encode32BF16(k *kernels, dst []byte, src []float32) {
	n := head(k.encode32BF16, len(src), dst, src)
	for i := n; i < len(src); i++ {
		binary.LittleEndian.PutUint16(dst[2*i:], bf16FromFloat32(math.Float32bits(src[i])))
	}
}

// bf16FromFloat32 rounds the bits of a float32 to nearest even.
func bf16FromFloat32(u uint32) uint16 {
	if u&^(1<<31) > 0x7f800000 {
		return uint16(bfloat16.nan)
	}
	return uint16((u + 0x7fff + u>>16&1) >> 16)
}

func decode64BF16(k *kernels, dst []float64, src []byte) { widen(k, decode32BF16, 2, dst, src) }

func encode64BF16(_ *kernels, dst []byte, src []float64) {
	for i, x := range src {
		binary.LittleEndian.PutUint16(dst[2*i:], uint16(bfloat16.round(x)))
	}
}

func decode32F16(k *kernels, dst []float32, src []byte) {
	n := head(k.decode32F16, len(dst), dst, src)
	for i := n; i < len(dst); i++ {
		dst[i] = math.Float32frombits(float32FromF16(binary.LittleEndian.Uint16(src[2*i:])))
	}
}

// float32FromF16 returns the bits of a binary16 value as float32; every NaN
// becomes quiet and keeps its sign and payload.
func float32FromF16(h uint16) uint32 {
	sign := uint32(h&0x8000) << 16
	m := uint32(h & 0x7fff)
	switch {
	case m > 0x7c00:
		return sign | 0x7fc00000 | m&0x3ff<<13
	case m == 0x7c00:
		return sign | 0x7f800000
	case m < 0x400: // subnormal: m·2⁻²⁴ is exact
		return sign | math.Float32bits(float32(m)*0x1p-24)
	}
	return sign | (m<<13 + (127-15)<<23)
}

func encode32F16(k *kernels, dst []byte, src []float32) {
	n := head(k.encode32F16, len(src), dst, src)
	for i := n; i < len(src); i++ {
		binary.LittleEndian.PutUint16(dst[2*i:], f16FromFloat32(math.Float32bits(src[i])))
	}
}

// f16FromFloat32 rounds the bits of a float32 to nearest even.
func f16FromFloat32(u uint32) uint16 {
	sign := uint16(u >> 16 & 0x8000)
	a := u &^ (1 << 31)
	switch {
	case a > 0x7f800000:
		return uint16(binary16.nan)
	case a >= 0x47800000: // 2^16 and above
		return sign | 0x7c00
	case a < 0x38800000: // below 2^-14: the last bit of 0.5 is worth 2^-24
		f := math.Float32frombits(a) + 0.5
		return sign | uint16(math.Float32bits(f)-0x3f000000)
	}
	a -= (127 - 15) << 23
	return sign | uint16((a+0xfff+a>>13&1)>>13)
}

func decode64F16(k *kernels, dst []float64, src []byte) { widen(k, decode32F16, 2, dst, src) }

func encode64F16(_ *kernels, dst []byte, src []float64) {
	for i, x := range src {
		binary.LittleEndian.PutUint16(dst[2*i:], uint16(binary16.round(x)))
	}
}

func decode32F32(_ *kernels, dst []float32, src []byte) {
	if load(dst, src) {
		return
	}
	for i := range dst {
		dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
	}
}

func encode32F32(_ *kernels, dst []byte, src []float32) {
	if store(dst, src) {
		return
	}
	for i, x := range src {
		binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(x))
	}
}

func decode64F32(k *kernels, dst []float64, src []byte) {
	n := head(k.decode64F32, len(dst), dst, src)
	for i := n; i < len(dst); i++ {
		dst[i] = wide(math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:])))
	}
}

func encode64F32(k *kernels, dst []byte, src []float64) {
	n := head(k.encode64F32, len(src), dst, src)
	for i := n; i < len(src); i++ {
		binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(narrow(src[i])))
	}
}

func decode32F64(_ *kernels, dst []float32, src []byte) {
	for i := range dst {
		dst[i] = narrow(math.Float64frombits(binary.LittleEndian.Uint64(src[8*i:])))
	}
}

func encode32F64(_ *kernels, dst []byte, src []float32) {
	for i, x := range src {
		binary.LittleEndian.PutUint64(dst[8*i:], math.Float64bits(wide(x)))
	}
}

func decode64F64(_ *kernels, dst []float64, src []byte) {
	if load(dst, src) {
		return
	}
	for i := range dst {
		dst[i] = math.Float64frombits(binary.LittleEndian.Uint64(src[8*i:]))
	}
}

func encode64F64(_ *kernels, dst []byte, src []float64) {
	if store(dst, src) {
		return
	}
	for i, x := range src {
		binary.LittleEndian.PutUint64(dst[8*i:], math.Float64bits(x))
	}
}

// wide returns x as float64. Processors differ in what becomes of a NaN; here
// it becomes quiet and keeps its sign and payload.
func wide(x float32) float64 {
	if x != x {
		u := uint64(math.Float32bits(x))
		return math.Float64frombits(u>>31<<63 | 0x7ff8<<48 | u<<41>>12)
	}
	return float64(x)
}

// narrow returns x rounded to float32, NaN as the positive quiet NaN.
func narrow(x float64) float32 {
	if x != x {
		return math.Float32frombits(uint32(binary32.nan))
	}
	return float32(x)
}

// widen decodes by way of float32, which is exact for dtypes of width bytes
// that decode reads.
func widen(k *kernels, decode func(*kernels, []float32, []byte), width int, dst []float64, src []byte) {
	var buffer [256]float32
	for len(dst) > 0 {
		part := buffer[:min(len(buffer), len(dst))]
		decode(k, part, src[:width*len(part)])
		for i, x := range part {
			dst[i] = wide(x)
		}
		dst, src = dst[len(part):], src[width*len(part):]
	}
}
