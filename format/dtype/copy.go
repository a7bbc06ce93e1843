package dtype

import (
	"encoding/binary"
	"unsafe"
)

// littleEndian reports whether values in memory look as they do in files. The
// compiler knows the answer.
func littleEndian() bool { return binary.NativeEndian.Uint16([]byte{1, 0}) == 1 }

// view returns the memory of s.
func view[T float32 | float64](s []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), len(s)*int(unsafe.Sizeof(T(0))))
}

// load copies values of a file into dst if that needs no conversion.
func load[T float32 | float64](dst []T, src []byte) bool {
	if !littleEndian() {
		return false
	}
	copy(view(dst), src)
	return true
}

// store copies values to the bytes of a file if that needs no conversion.
func store[T float32 | float64](dst []byte, src []T) bool {
	if !littleEndian() {
		return false
	}
	copy(dst, view(src))
	return true
}
