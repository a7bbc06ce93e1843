// Package dtype knows the element types of safetensors: their names and
// sizes, and how their values are read and written. Everything that depends
// on a dtype is a column of its one table.
package dtype

import "fmt"

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

// A row of the table. Codecs convert len of the float slice many values; nil
// means that the values are opaque and only copied.
type row struct {
	name     string
	bits     int
	layout   *layout // of a float dtype that can hold a merged value
	decode32 func(dst []float32, src []byte)
	encode32 func(dst []byte, src []float32)
	decode64 func(dst []float64, src []byte)
	encode64 func(dst []byte, src []float64)
}

var dtypes = [numDTypes]row{
	BOOL:        {name: "BOOL", bits: 8, decode64: decodeInts[uint8]},
	F4:          {name: "F4", bits: 4}, // the order of two values in a byte is not specified
	F6_E2M3:     {name: "F6_E2M3", bits: 6},
	F6_E3M2:     {name: "F6_E3M2", bits: 6},
	U8:          {name: "U8", bits: 8, decode64: decodeInts[uint8]},
	I8:          {name: "I8", bits: 8, decode64: decodeInts[int8]},
	F8_E5M2:     {"F8_E5M2", 8, &e5m2, e5m2.decode32, e5m2.encode32, e5m2.decode64, e5m2.encode64},
	F8_E4M3:     {"F8_E4M3", 8, &e4m3, e4m3.decode32, e4m3.encode32, e4m3.decode64, e4m3.encode64},
	F8_E8M0:     {name: "F8_E8M0", bits: 8, decode64: decodeE8M0}, // a scale, without sign and zero
	F8_E4M3FNUZ: {"F8_E4M3FNUZ", 8, &e4m3fnuz, e4m3fnuz.decode32, e4m3fnuz.encode32, e4m3fnuz.decode64, e4m3fnuz.encode64},
	F8_E5M2FNUZ: {"F8_E5M2FNUZ", 8, &e5m2fnuz, e5m2fnuz.decode32, e5m2fnuz.encode32, e5m2fnuz.decode64, e5m2fnuz.encode64},
	I16:         {name: "I16", bits: 16, decode64: decodeInts[int16]},
	U16:         {name: "U16", bits: 16, decode64: decodeInts[uint16]},
	F16:         {"F16", 16, &binary16, decode32F16, encode32F16, decode64F16, encode64F16},
	BF16:        {"BF16", 16, &bfloat16, decode32BF16, encode32BF16, decode64BF16, encode64BF16},
	I32:         {name: "I32", bits: 32, decode64: decodeInts[int32]},
	U32:         {name: "U32", bits: 32, decode64: decodeInts[uint32]},
	F32:         {"F32", 32, &binary32, decode32F32, encode32F32, decode64F32, encode64F32},
	C64:         {name: "C64", bits: 64},
	F64:         {"F64", 64, &binary64, decode32F64, encode32F64, decode64F64, encode64F64},
	I64:         {name: "I64", bits: 64, decode64: decodeInts[int64]},
	U64:         {name: "U64", bits: 64, decode64: decodeInts[uint64]},
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

// MaxFinite returns the largest finite value of a Float dtype.
func (d DType) MaxFinite() float64 { return d.float().maxFinite() }

// Working returns the precision in which deltas of a dtype are computed:
// F32 for dtypes of at most 11 significant bits, else F64.
func (d DType) Working() DType {
	if d.float().mantissa <= 10 {
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

func (d DType) check(n, bytes int) {
	if n*d.Bits() != bytes*8 {
		panic(fmt.Sprintf("dtype: %d values of %v beside %d bytes", n, d, bytes))
	}
}

// Decode32 reads values as float32: exactly, but for F64, which is rounded to
// nearest even. It panics unless d is Float and the lengths fit.
func (d DType) Decode32(dst []float32, src []byte) {
	d.check(len(dst), len(src))
	dtypes[d].decode32(dst, src)
}

// Decode64 reads values as float64: exactly, but for I64 and U64, which are
// rounded. It panics if the lengths do not fit or the dtype is opaque.
func (d DType) Decode64(dst []float64, src []byte) {
	d.check(len(dst), len(src))
	dtypes[d].decode64(dst, src)
}

// Encode32 writes values rounded to nearest even. Values beyond the largest
// finite one become infinite, or NaN in dtypes without infinity; every NaN
// becomes a quiet NaN.
func (d DType) Encode32(dst []byte, src []float32) {
	d.check(len(src), len(dst))
	dtypes[d].encode32(dst, src)
}

// Encode64 is Encode32 from float64, with one rounding.
func (d DType) Encode64(dst []byte, src []float64) {
	d.check(len(src), len(dst))
	dtypes[d].encode64(dst, src)
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
