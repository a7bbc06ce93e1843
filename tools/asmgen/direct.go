package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

// direct emits the kernel of tile for a B that is not packed: its rows are ldb
// apart. It asks for the next tile's part of each row that it reads.
func direct(v vector, rows int) {
	width := tileRegs * v.lanes()
	name := v.name(fmt.Sprintf("direct%dx%df", rows, width))
	begin(name, fmt.Sprintf("func(k int, a, b, c *%s, ldb, ldc, count int, accumulate bool)", v.elem()),
		name+" computes, for count tiles, at least one, side by side,",
		"",
		fmt.Sprintf("\tfor i in 0…%d, j in 0…%d*count-1:", rows-1, width),
		"\t\tacc = c[i*ldc+j] if accumulate, 0 if not",
		"\t\tfor l in 0…k-1:",
		fmt.Sprintf("\t\t\tacc = fma(a[l*%d+i], b[l*ldb+j], acc)", rows),
		"\t\tc[i*ldc+j] = acc")
	depth := Load(Param("k"), GP64())
	left := Load(Param("a"), GP64())
	first := Load(Param("b"), GP64())
	c := Load(Param("c"), GP64())
	ldb := Load(Param("ldb"), GP64())
	ldc := Load(Param("ldc"), GP64())
	count := Load(Param("count"), GP64())
	accumulate := Load(Param("accumulate"), GP8())
	SHLQ(U8(log2(v.size)), ldb)
	SHLQ(U8(log2(v.size)), ldc)
	k, a, b := GP64(), GP64(), GP64()

	acc := tileRegisters(v, rows)
	Label("panel")
	MOVQ(depth, k)
	MOVQ(left, a)
	MOVQ(first, b)
	loadTile(v, acc, c, ldc, accumulate)
	Label("steps")
	TESTQ(k, k)
	JZ(LabelRef("store"))
	tileStep(v, acc, b, 0, packedRow(v, a, 0))
	for d := 0; d < tileRegs*v.bytes(); d += 64 {
		PREFETCHT0(Mem{Base: b, Disp: tileRegs*v.bytes() + d})
	}
	ADDQ(I32(rows*v.size), a)
	ADDQ(ldb, b)
	DECQ(k)
	JMP(LabelRef("steps"))
	Label("store")
	storeTile(v, acc, c, ldc)
	ADDQ(I32(tileRegs*v.bytes()), c)
	ADDQ(I32(tileRegs*v.bytes()), first)
	DECQ(count)
	JNZ(LabelRef("panel"))
	end()
}
