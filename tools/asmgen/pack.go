package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// packEight emits the loop of packEight: transposes of 8×8 float32, by pairs,
// by fours and by halves.
func packEight() {
	begin("packEightAVX", "func(n int, dst *float32, width int, src *float32, stride int)",
		"packEightAVX computes, for n a multiple of 8,",
		"",
		"\tfor k in 0…n-1, r in 0…7:",
		"\t\tdst[k*width+r] = src[r*stride+k]")
	n := Load(Param("n"), GP64())
	dst := Load(Param("dst"), GP64())
	width := Load(Param("width"), GP64())
	src := Load(Param("src"), GP64())
	stride := Load(Param("stride"), GP64())
	SHLQ(U8(2), width)
	SHLQ(U8(2), stride)
	rows := [8]Register{src}
	for r := 1; r < 8; r++ {
		g := GP64()
		LEAQ(Mem{Base: rows[r-1], Index: stride, Scale: 1}, g)
		rows[r] = g
	}
	Label("loop")
	TESTQ(n, n)
	JZ(LabelRef("done"))
	var x [8]VecVirtual
	for r := range x {
		x[r] = YMM()
		VMOVUPS(Mem{Base: rows[r]}, x[r])
		ADDQ(U8(32), rows[r])
	}
	x = pairs(x)
	x = fours(x)
	for _, row := range halves(x) {
		VMOVUPS(row, Mem{Base: dst})
		ADDQ(width, dst)
	}
	SUBQ(U8(8), n)
	JMP(LabelRef("loop"))
	Label("done")
	end()
}

// pairs interleaves rows r and r+1.
func pairs(x [8]VecVirtual) (y [8]VecVirtual) {
	for r := 0; r < 8; r += 2 {
		y[r], y[r+1] = YMM(), YMM()
		VUNPCKLPS(x[r+1], x[r], y[r])
		VUNPCKHPS(x[r+1], x[r], y[r+1])
	}
	return y
}

// fours joins pairs: the result q·4+c has column c, in each half, of rows 4q…4q+3.
func fours(x [8]VecVirtual) (y [8]VecVirtual) {
	for q := 0; q < 8; q += 4 {
		for h := range 2 {
			lo, hi := YMM(), YMM()
			VSHUFPS(U8(0x44), x[q+2+h], x[q+h], lo)
			VSHUFPS(U8(0xEE), x[q+2+h], x[q+h], hi)
			y[q+2*h], y[q+2*h+1] = lo, hi
		}
	}
	return y
}

// halves joins the fours of rows 0…3 and 4…7.
func halves(x [8]VecVirtual) (y [8]VecVirtual) {
	for c := range 4 {
		y[c], y[c+4] = YMM(), YMM()
		VPERM2F128(U8(0x20), x[c+4], x[c], y[c])
		VPERM2F128(U8(0x31), x[c+4], x[c], y[c+4])
	}
	return y
}
