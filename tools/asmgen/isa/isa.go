// Package isa holds what the generators of kernels that go through rows of
// values share: the instruction sets of amd64 that each kernel is written for,
// and the loop over its values.
package isa

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// A Set is an instruction set: AVX-512F, or AVX2 with F16C.
type Set struct {
	Name string // what the names of its kernels end in
	Wide bool   // 512-bit registers, or 256
}

// The instruction sets, and all of them in the order of the generated files.
var (
	AVX512 = Set{"AVX512", true}
	AVX2   = Set{"AVX2", false}
	Sets   = []Set{AVX512, AVX2}
)

// Reg allocates a register.
func (s Set) Reg() VecVirtual {
	if s.Wide {
		return ZMM()
	}
	return YMM()
}

// Half allocates a register of half the size.
func (s Set) Half() VecVirtual {
	if s.Wide {
		return YMM()
	}
	return XMM()
}

// Bytes returns the size of a register.
func (s Set) Bytes() int {
	if s.Wide {
		return 64
	}
	return 32
}

// Constant returns a register with the bits b in each 32-bit element.
func (s Set) Constant(b uint32) VecVirtual {
	r, x, g := s.Reg(), XMM(), GP32()
	MOVL(U32(b), g)
	VMOVD(g, x)
	VPBROADCASTD(x, r)
	return r
}

// Block is how many values a turn of every loop takes.
const Block = 16

// Loop emits body for every block of n values, of which i counts those that
// are done, then end, and the return.
func Loop(n Op, i GPVirtual, body, end func()) {
	XORQ(i, i)
	Label("loop")
	CMPQ(i, n)
	JGE(LabelRef("done"))
	body()
	ADDQ(I8(Block), i)
	JMP(LabelRef("loop"))
	Label("done")
	end()
	VZEROUPPER()
	RET()
}

// Nothing is the end of a loop after which nothing is left to do.
func Nothing() {}
