package dtype

import (
	"math"
	"unsafe"
)

// decode64E8M0 reads powers of two; 255 is NaN (OCP Microscaling Formats 1.0).
func decode64E8M0(_ *kernels, dst []float64, src []byte) {
	for i, b := range src {
		if dst[i] = pow2(int(b) - 127); b == 255 {
			dst[i] = math.NaN()
		}
	}
}

// decodeInts reads little-endian integers.
func decodeInts[T int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64](_ *kernels, dst []float64, src []byte) {
	width := int(unsafe.Sizeof(T(0)))
	for i := range dst {
		var u uint64
		for k := width - 1; k >= 0; k-- {
			u = u<<8 | uint64(src[i*width+k])
		}
		dst[i] = float64(T(u))
	}
}
