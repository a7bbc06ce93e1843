// Package dtype knows the element types of safetensors: their names and
// sizes, and how their values are read and written. Everything that depends
// on a dtype is a column of its one table.
package dtype

import (
	"fmt"
	"math"
)

// A DType is an element type of safetensors.
type DType uint8

// The dtypes, in the order of the reference implementation's enum, by which
// its writer sorts tensors (safetensors 0.8, tensor.rs).
const (
	BOOL DType = iota
	F4
	F6_E2M3
	F6_E3M2
	U8
	I8
	F8_E5M2
	F8_E4M3
	F8_E8M0
	F8_E4M3FNUZ
	F8_E5M2FNUZ
	I16
	U16
	F16
	BF16
	I32
	U32
	F32
	C64
	F64
	I64
	U64
	numDTypes
)

// A row of the table. Codecs convert as many values as the float slice is
// long; nil means that the values are opaque and only copied.
type row struct {
	name     string
	bits     int
	max      float64 // the largest finite value; of C64, of its parts
	layout   *layout // of a float dtype that can hold a merged value
	decode32 func(k *kernels, dst []float32, src []byte)
	encode32 func(k *kernels, dst []byte, src []float32)
	decode64 func(k *kernels, dst []float64, src []byte)
	encode64 func(k *kernels, dst []byte, src []float64)
}

var dtypes = [numDTypes]row{
	BOOL:        {name: "BOOL", bits: 8, max: 1, decode64: decodeInts[uint8]},
	F4:          {name: "F4", bits: 4, max: 6}, // the order of two values in a byte is not specified
	F6_E2M3:     {name: "F6_E2M3", bits: 6, max: 7.5},
	F6_E3M2:     {name: "F6_E3M2", bits: 6, max: 28},
	U8:          {name: "U8", bits: 8, max: math.MaxUint8, decode64: decodeInts[uint8]},
	I8:          {name: "I8", bits: 8, max: math.MaxInt8, decode64: decodeInts[int8]},
	F8_E5M2:     {"F8_E5M2", 8, 57344, &e5m2.layout, e5m2.decode32, e5m2.encode32, e5m2.decode64, e5m2.encode64},
	F8_E4M3:     {"F8_E4M3", 8, 448, &e4m3.layout, e4m3.decode32, e4m3.encode32, e4m3.decode64, e4m3.encode64},
	F8_E8M0:     {name: "F8_E8M0", bits: 8, max: 0x1p127, decode64: decode64E8M0}, // a scale, without sign and zero
	F8_E4M3FNUZ: {"F8_E4M3FNUZ", 8, 240, &e4m3fnuz.layout, e4m3fnuz.decode32, e4m3fnuz.encode32, e4m3fnuz.decode64, e4m3fnuz.encode64},
	F8_E5M2FNUZ: {"F8_E5M2FNUZ", 8, 57344, &e5m2fnuz.layout, e5m2fnuz.decode32, e5m2fnuz.encode32, e5m2fnuz.decode64, e5m2fnuz.encode64},
	I16:         {name: "I16", bits: 16, max: math.MaxInt16, decode64: decodeInts[int16]},
	U16:         {name: "U16", bits: 16, max: math.MaxUint16, decode64: decodeInts[uint16]},
	F16:         {"F16", 16, 65504, &binary16, decode32F16, encode32F16, decode64F16, encode64F16},
	BF16:        {"BF16", 16, 0x1.fep127, &bfloat16, decode32BF16, encode32BF16, decode64BF16, encode64BF16},
	I32:         {name: "I32", bits: 32, max: math.MaxInt32, decode64: decodeInts[int32]},
	U32:         {name: "U32", bits: 32, max: math.MaxUint32, decode64: decodeInts[uint32]},
	F32:         {"F32", 32, math.MaxFloat32, &binary32, decode32F32, encode32F32, decode64F32, encode64F32},
	C64:         {name: "C64", bits: 64, max: math.MaxFloat32},
	F64:         {"F64", 64, math.MaxFloat64, &binary64, decode32F64, encode32F64, decode64F64, encode64F64},
	I64:         {name: "I64", bits: 64, max: math.MaxInt64, decode64: decodeInts[int64]},
	U64:         {name: "U64", bits: 64, max: math.MaxUint64, decode64: decodeInts[uint64]},
}

// Parse returns the dtype of a safetensors name, spelt exactly.
func Parse(name string) (DType, bool) {
	for d := range dtypes {
		if dtypes[d].name == name {
			return DType(d), true
		}
	}
	return 0, false
}

// String returns the safetensors name.
func (d DType) String() string { return dtypes[d].name }

// Bits returns the size of an element in bits; it is not a multiple of 8 for
// F4 and F6.
func (d DType) Bits() int { return dtypes[d].bits }

// Float reports whether values can be read, changed and written back: the
// float dtypes of whole bytes, but for the scale F8_E8M0.
func (d DType) Float() bool { return dtypes[d].layout != nil }

// Decodes reports whether Decode64 can read values of d.
func (d DType) Decodes() bool { return dtypes[d].decode64 != nil }

// MaxFinite returns the largest finite value, as Decode64 reads it. That of
// C64 holds for the real and for the imaginary part.
func (d DType) MaxFinite() float64 { return dtypes[d].max }

// Working returns the precision in which deltas of a dtype are computed: F32
// for Float dtypes of at most 11 significant bits, else F64.
func (d DType) Working() DType {
	if l := dtypes[d].layout; l != nil && l.mantissa <= 10 {
		return F32
	}
	return F64
}

func (d DType) float() *layout {
	if l := dtypes[d].layout; l != nil {
		return l
	}
	panic(fmt.Sprintf("dtype: %v is not a float dtype", d))
}

func (d DType) check(n, bytes int, opaque bool) {
	if opaque {
		panic(fmt.Sprintf("dtype: no such codec of %v", d))
	}
	if uint64(n)*uint64(d.Bits()) != uint64(bytes)*8 {
		panic(fmt.Sprintf("dtype: %d values of %v beside %d bytes", n, d, bytes))
	}
}

// Decode32 reads len(dst) little-endian values as float32: exactly, but for
// F64, which is rounded to nearest even. It panics unless d is Float and the
// lengths fit.
func (d DType) Decode32(dst []float32, src []byte) {
	r := &dtypes[d]
	d.check(len(dst), len(src), r.decode32 == nil)
	r.decode32(best(), dst, src)
}

// Decode64 reads len(dst) little-endian values as float64: exactly, but for
// I64 and U64, which are rounded to nearest even. BOOL gives the byte. It
// panics unless d decodes and the lengths fit.
func (d DType) Decode64(dst []float64, src []byte) {
	r := &dtypes[d]
	d.check(len(dst), len(src), r.decode64 == nil)
	r.decode64(best(), dst, src)
}

// Encode32 writes the values of src rounded to nearest, ties to even, with
// subnormals. What rounds beyond the largest finite value becomes infinite, or
// NaN in dtypes without infinity, as torch's and ml_dtypes' casts do without
// saturation: in F8_E4M3 beyond 464, in F8_E4M3FNUZ from 248, in F8_E5M2FNUZ
// from 61440. Every NaN becomes the positive quiet NaN, but a NaN of the same
// dtype (F32) is copied. It panics unless d is Float and the lengths fit.
func (d DType) Encode32(dst []byte, src []float32) {
	r := &dtypes[d]
	d.check(len(src), len(dst), r.encode32 == nil)
	r.encode32(best(), dst, src)
}

// Encode64 is [DType.Encode32] from float64: one rounding, none by way of
// float32.
func (d DType) Encode64(dst []byte, src []float64) {
	r := &dtypes[d]
	d.check(len(src), len(dst), r.encode64 == nil)
	r.encode64(best(), dst, src)
}

// Nearest returns the name of the table that is most like a wrong one, or "".
func Nearest(name string) string {
	best, most := "", 0
	for d := range dtypes {
		if n := likeness(name, dtypes[d].name); n > most {
			best, most = dtypes[d].name, n
		}
	}
	return best
}
