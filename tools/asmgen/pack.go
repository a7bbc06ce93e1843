package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// aheadRows is how far behind the rows that are packed the ones lie that are
// asked for: rows are too short for the processor to see where they go on.
const aheadRows = 8

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
	ahead := GP64()
	IMUL3Q(U8(aheadRows), stride, ahead)
	Label("loop")
	TESTQ(n, n)
	JZ(LabelRef("done"))
	var x [8]VecVirtual
	for r := range x {
		x[r] = YMM()
		VMOVUPS(Mem{Base: rows[r]}, x[r])
		PREFETCHT0(Mem{Base: rows[r], Index: ahead, Scale: 1})
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

// packTwelve emits the loop of packTwelve: transposes of 4×4 float32, three
// above each other, by pairs and by fours within the halves of a register.
func packTwelve() {
	begin("packTwelveAVX", "func(n int, dst, src *float32, stride int)",
		"packTwelveAVX computes, for n a multiple of 8,",
		"",
		"\tfor k in 0…n-1, r in 0…11:",
		"\t\tdst[k*12+r] = src[r*stride+k]")
	n := Load(Param("n"), GP64())
	dst := Load(Param("dst"), GP64())
	stride := Load(Param("stride"), GP64())
	SHLQ(U8(2), stride)
	rows := newRowPointers(12)
	rows.load("src", stride)
	Label("loop")
	TESTQ(n, n)
	JZ(LabelRef("done"))
	for q := 0; q < 12; q += 4 {
		var x, y [4]VecVirtual
		for i := range x {
			x[i] = YMM()
			VMOVUPS(rows.at(avx2F32, stride, q+i, 0), x[i])
		}
		for i := range y {
			y[i] = YMM()
		}
		VUNPCKLPS(x[1], x[0], y[0])
		VUNPCKHPS(x[1], x[0], y[1])
		VUNPCKLPS(x[3], x[2], y[2])
		VUNPCKHPS(x[3], x[2], y[3])
		for c := range 4 {
			z, to := YMM(), Mem{Base: dst, Disp: 4 * (12*c + q)}
			if c%2 == 0 {
				VUNPCKLPD(y[2+c/2], y[c/2], z)
			} else {
				VUNPCKHPD(y[2+c/2], y[c/2], z)
			}
			VMOVUPS(z.AsX(), to)
			VEXTRACTF128(U8(1), z, to.Offset(4*12*4))
		}
	}
	rows.advance(avx2F32, 8)
	ADDQ(I32(4*12*8), dst)
	SUBQ(U8(8), n)
	JMP(LabelRef("loop"))
	Label("done")
	end()
}

// copyPanels emits the loop of copyPanels.
func copyPanels() {
	begin("copyPanelsAVX", "func(rows, panels, width int, dst *float32, stride int, src *float32, rowStride int)",
		"copyPanelsAVX computes, for at least one row and panel and a width that is a multiple of 4,",
		"",
		"\tfor r in 0…rows-1, p in 0…panels-1, j in 0…width-1:",
		"\t\tdst[p*stride+r*width+j] = src[r*rowStride+p*width+j]")
	rows := Load(Param("rows"), GP64())
	panels := Load(Param("panels"), GP64())
	width := Load(Param("width"), GP64())
	dst := Load(Param("dst"), GP64())
	stride := Load(Param("stride"), GP64())
	src := Load(Param("src"), GP64())
	rowStride := Load(Param("rowStride"), GP64())
	for _, r := range []Register{width, stride, rowStride} {
		SHLQ(U8(2), r)
	}
	p, at, from, to, ahead := GP64(), GP64(), GP64(), GP64(), GP64()
	Label("row")
	MOVQ(panels, p)
	MOVQ(src, from)
	IMUL3Q(U8(aheadRows), rowStride, ahead)
	ADDQ(src, ahead)
	MOVQ(dst, to)
	Label("panel")
	XORQ(at, at)
	SUBQ(U8(64), width)
	Label("wide")
	CMPQ(at, width)
	JG(LabelRef("rest"))
	x, y := YMM(), YMM()
	VMOVUPS(Mem{Base: from, Index: at, Scale: 1}, x)
	VMOVUPS(Mem{Base: from, Index: at, Scale: 1, Disp: 32}, y)
	VMOVUPS(x, Mem{Base: to, Index: at, Scale: 1})
	VMOVUPS(y, Mem{Base: to, Index: at, Scale: 1, Disp: 32})
	PREFETCHT0(Mem{Base: ahead, Index: at, Scale: 1})
	ADDQ(U8(64), at)
	JMP(LabelRef("wide"))
	Label("rest")
	ADDQ(U8(64), width)
	Label("narrow")
	CMPQ(at, width)
	JGE(LabelRef("next"))
	z := XMM()
	VMOVUPS(Mem{Base: from, Index: at, Scale: 1}, z)
	VMOVUPS(z, Mem{Base: to, Index: at, Scale: 1})
	ADDQ(U8(16), at)
	JMP(LabelRef("narrow"))
	Label("next")
	ADDQ(width, from)
	ADDQ(width, ahead)
	ADDQ(stride, to)
	DECQ(p)
	JNZ(LabelRef("panel"))
	ADDQ(rowStride, src)
	ADDQ(width, dst)
	DECQ(rows)
	JNZ(LabelRef("row"))
	end()
}
