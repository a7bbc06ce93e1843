package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// A vector is one instruction set with one element type.
type vector struct {
	isa  string // as in function names
	size int    // of an element, in bytes
	wide bool   // 512-bit registers, or 256

	maxRows, rowStep int // heights of the tiles

	flush bool // tiles take subnormal numbers for 0
	pairs bool // elements are pairs of bfloat16, that of the lower address low
}

var (
	avx512F32 = vector{isa: "AVX512", size: 4, wide: true, maxRows: 12, rowStep: 4}
	avx512F64 = vector{isa: "AVX512", size: 8, wide: true, maxRows: 12, rowStep: 4}
	avx2F32   = vector{isa: "AVX2", size: 4, maxRows: 6, rowStep: 2}
	avx2F64   = vector{isa: "AVX2", size: 8, maxRows: 6, rowStep: 2}

	avx512Pairs = vector{isa: "PairsAVX512", size: 4, wide: true, maxRows: 12, rowStep: 4, pairs: true}
	avx512Flush = vector{isa: "FlushAVX512", size: 4, wide: true, maxRows: 12, rowStep: 4, flush: true}
	avx2Flush   = vector{isa: "FlushAVX2", size: 4, maxRows: 6, rowStep: 2, flush: true}
)

// name returns a function name such as update32AVX512.
func (v vector) name(base string) string { return fmt.Sprintf("%s%d%s", base, 8*v.size, v.isa) }

// elem returns the Go type of an element.
func (v vector) elem() string { return fmt.Sprintf("float%d", 8*v.size) }

// bytes returns the size of a register.
func (v vector) bytes() int {
	if v.wide {
		return 64
	}
	return 32
}

// lanes returns the number of elements in a register.
func (v vector) lanes() int { return v.bytes() / v.size }

// reg allocates a register.
func (v vector) reg() VecVirtual {
	if v.wide {
		return ZMM()
	}
	return YMM()
}

// pick returns the instruction for the element type.
func (v vector) pick(single, double func(...Op)) func(...Op) {
	if v.size == 4 {
		return single
	}
	return double
}

func (v vector) move(ops ...Op)      { v.pick(VMOVUPS, VMOVUPD)(ops...) }
func (v vector) add(ops ...Op)       { v.pick(VADDPS, VADDPD)(ops...) }
func (v vector) sub(ops ...Op)       { v.pick(VSUBPS, VSUBPD)(ops...) }
func (v vector) broadcast(ops ...Op) { v.pick(VBROADCASTSS, VBROADCASTSD)(ops...) }

// fmadd emits acc += x·y; y may be in memory.
func (v vector) fmadd(y, x, acc Op) {
	if v.pairs {
		dotPairs(y.(Register), x.(Register), acc.(Register))
		return
	}
	v.pick(VFMADD231PS, VFMADD231PD)(y, x, acc)
}

// fmaddTo emits x = x·y + z.
func (v vector) fmaddTo(z, y, x Op) { v.pick(VFMADD213PS, VFMADD213PD)(z, y, x) }

// zero clears r. It stays within AVX-512F and AVX.
func (v vector) zero(r Op) {
	if v.wide {
		VPXORD(r, r, r)
		return
	}
	VXORPS(r, r, r)
}

// and emits dst = x & y.
func (v vector) and(x, y, dst Op) {
	if v.wide {
		VPANDD(x, y, dst)
		return
	}
	VPAND(x, y, dst)
}

// constant returns a register with the bits b in every element.
func (v vector) constant(b uint64) VecVirtual {
	r, x, g := v.reg(), XMM(), GP64()
	if v.size == 4 {
		MOVL(U32(b), g.As32())
		VMOVD(g.As32(), x)
		VPBROADCASTD(x, r)
		return r
	}
	MOVQ(U64(b), g)
	VMOVQ(g, x)
	VPBROADCASTQ(x, r)
	return r
}

// begin starts a function with a documented Go declaration.
func begin(name, signature string, doc ...string) {
	TEXT(name, NOSPLIT, signature)
	Pragma("noescape")
	Doc(doc...)
}

// end returns from a function that used wide registers.
func end() {
	VZEROUPPER()
	RET()
}
