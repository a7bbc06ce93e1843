package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"

	"github.com/loratool/loratool/tools/asmgen/isa"
)

// coarser16 emits the kernel of Coarser for dtypes of 16 bits, which AVX2 does
// 16 at a time.
func coarser16() {
	s := set{isa.AVX2}
	TEXT("coarser16AVX2", NOSPLIT, "func(n int, set *uint16, a, b *byte, exponent uint16)")
	Pragma("noescape")
	Doc("coarser16AVX2 computes, for n a multiple of 16, little-endian values and any alignment,",
		"",
		"\tfor i in 0…n-1:",
		"\t\tx, y = a16[i] & 0x7fff, b16[i] & exponent",
		"\t\tif x == 0 or (x-1)&exponent < y: bit i mod 16 of set[i/16] = 1")
	n, i := Load(Param("n"), GP64()), GP64()
	bits, a, b := Load(Param("set"), GP64()), Load(Param("a"), GP64()), Load(Param("b"), GP64())
	exponent, sign, magnitude := s.Reg(), s.Reg(), s.Constant(0x7fff7fff)
	VMOVD(Load(Param("exponent"), GP32()), exponent.AsX())
	VPBROADCASTW(exponent.AsX(), exponent)
	minusOne, below := s.Reg(), s.Reg() // below keeps the exponent, and the sign of 0 - 1
	VPCMPEQW(minusOne, minusOne, minusOne)
	VPXOR(minusOne, magnitude, sign)
	VPOR(sign, exponent, below)
	XORQ(i, i)
	Label("loop")
	CMPQ(i, n)
	JGE(LabelRef("done"))
	x, y, high, flags := YMM(), YMM(), XMM(), GP32()
	VPAND(Mem{Base: a, Index: i, Scale: 2}, magnitude, x)
	VPADDW(minusOne, x, x)
	VPAND(below, x, x)
	VPAND(Mem{Base: b, Index: i, Scale: 2}, exponent, y)
	VPCMPGTW(x, y, y)
	VEXTRACTI128(Imm(1), y, high)
	VPACKSSWB(high, y.AsX(), high)
	VPMOVMSKB(high, flags)
	ORW(flags.As16(), Mem{Base: bits})
	ADDQ(Imm(2), bits)
	ADDQ(I8(isa.Block), i)
	JMP(LabelRef("loop"))
	Label("done")
	VZEROUPPER()
	RET()
}
