// Codec writes the assembly of format/dtype: the amd64 kernels that decode and
// encode blocks of values or add to them, and their Go declarations. Run it by
// `go generate ./format/dtype`.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"

	"github.com/loratool/loratool/tools/asmgen/isa"
)

func main() {
	ConstraintExpr("amd64,!noasm")
	for _, i := range isa.Sets {
		s := set{i}
		decodeBF16(s)
		encodeBF16(s)
		decodeF16(s)
		encodeF16(s)
		decodeF32(s)
		encodeF32(s)
		decodeF8(s)
		encodeF8(s)
		for _, h := range halves {
			addRound(s, h)
		}
	}
	coarser16()
	preimages()
	Generate()
}

// A set is an instruction set and what is the same in both of what codecs need.
type set struct{ isa.Set }

// lanes returns how many elements of size bytes a register holds.
func (s set) lanes(size int) int { return s.Bytes() / size }

// starts lists where in a block the registers of elements of size bytes start.
func (s set) starts(size int) (at []int) {
	for i := 0; i < isa.Block; i += s.lanes(size) {
		at = append(at, i)
	}
	return at
}

// load reads integers or floats of any type.
func (s set) load(m, r Op) { s.move(m, r) }

// store writes integers or floats of any type.
func (s set) store(r, m Op) { s.move(r, m) }

func (s set) move(from, to Op) {
	if s.Wide {
		VMOVDQU32(from, to)
		return
	}
	VMOVDQU(from, to)
}

func (s set) and(x, y, dst Op) {
	if s.Wide {
		VPANDD(x, y, dst)
		return
	}
	VPAND(x, y, dst)
}

// andNot keeps the bits of x that y has not.
func (s set) andNot(x, y, dst Op) {
	if s.Wide {
		VPANDND(x, y, dst)
		return
	}
	VPANDN(x, y, dst)
}

func (s set) or(x, y, dst Op) {
	if s.Wide {
		VPORD(x, y, dst)
		return
	}
	VPOR(x, y, dst)
}

func (s set) xor(x, y, dst Op) {
	if s.Wide {
		VPXORD(x, y, dst)
		return
	}
	VPXOR(x, y, dst)
}

// whereGreater sets the 32-bit elements of dst to those of x where, as signed
// integers, a > b.
func (s set) whereGreater(a, b, x, dst Op) { s.where(func(m Op) { VPCMPGTD(b, a, m) }, x, dst) }

// whereEqual does so where a = b.
func (s set) whereEqual(a, b, x, dst Op) { s.where(func(m Op) { VPCMPEQD(b, a, m) }, x, dst) }

// whereNaN does so where f is NaN.
func (s set) whereNaN(f, x, dst Op) { s.where(func(m Op) { VCMPPS(Imm(3), f, f, m) }, x, dst) }

func (s set) where(compare func(mask Op), x, dst Op) {
	if s.Wide {
		k := K()
		compare(k)
		VMOVDQA32(x, k, dst)
		return
	}
	m := YMM()
	compare(m)
	VPBLENDVB(m, x, dst, dst)
}

// A loop is a function that converts n values, block by block, and what its
// body needs.
type loop struct {
	dst, src Register
	i        GPVirtual
	toFloats bool
	size     int // of a float, in bytes
	packed   int // size of a value in the file, in bytes
}

// float returns the address of the block's element i in the float slice.
func (l loop) float(i int) Mem {
	if l.toFloats {
		return Mem{Base: l.dst, Index: l.i, Scale: uint8(l.size), Disp: i * l.size}
	}
	return Mem{Base: l.src, Index: l.i, Scale: uint8(l.size), Disp: i * l.size}
}

// file returns the address of the block's element i in the file's bytes.
func (l loop) file(i int) Mem {
	if l.toFloats {
		return Mem{Base: l.src, Index: l.i, Scale: uint8(l.packed), Disp: i * l.packed}
	}
	return Mem{Base: l.dst, Index: l.i, Scale: uint8(l.packed), Disp: i * l.packed}
}

// each emits the loop.
func (l loop) each(body func()) {
	isa.Loop(Load(Param("n"), GP64()), l.i, body, isa.Nothing)
}

// decoder starts a function from bytes to floats.
func (s set) decoder(name, elem string, packed int, extra string, doc ...string) loop {
	return s.begin("decode"+name, "n int, dst *"+elem+", src *byte"+extra, elem, packed, true, doc)
}

// encoder starts a function from floats to bytes.
func (s set) encoder(name, elem string, packed int, extra string, doc ...string) loop {
	return s.begin("encode"+name, "n int, dst *byte, src *"+elem+extra, elem, packed, false, doc)
}

func (s set) begin(name, params, elem string, packed int, toFloats bool, doc []string) loop {
	TEXT(name+s.Name, NOSPLIT, "func("+params+")")
	Pragma("noescape")
	Doc(append([]string{name + s.Name + " computes, for n a multiple of 16, little-endian values and any alignment,", ""}, doc...)...)
	size := 4
	if elem == "float64" {
		size = 8
	}
	return loop{
		dst: Load(Param("dst"), GP64()), src: Load(Param("src"), GP64()),
		i: GP64(), toFloats: toFloats, size: size, packed: packed,
	}
}
