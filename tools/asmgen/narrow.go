package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// narrowTile emits the kernel of tile for the first half of its columns: one
// register in a row.
func narrowTile(v vector, rows int) {
	name := v.name(fmt.Sprintf("tile%dx%df", rows, v.lanes()))
	width := tileRegs * v.lanes()
	begin(name, fmt.Sprintf("func(k int, a, b, c *%s, ldc int, accumulate bool)", v.elem()),
		name+" computes",
		"",
		fmt.Sprintf("\tfor i in 0…%d, j in 0…%d:", rows-1, v.lanes()-1),
		"\t\tacc = c[i*ldc+j] if accumulate, 0 if not",
		"\t\tfor l in 0…k-1:",
		fmt.Sprintf("\t\t\tacc = fma(a[l*%d+i], b[l*%d+j], acc)", rows, width),
		"\t\tc[i*ldc+j] = acc")
	k := Load(Param("k"), GP64())
	a := Load(Param("a"), GP64())
	b := Load(Param("b"), GP64())
	c := Load(Param("c"), GP64())
	ldc := Load(Param("ldc"), GP64())
	accumulate := Load(Param("accumulate"), GP8())
	SHLQ(U8(log2(v.size)), ldc)

	acc := make([]VecVirtual, rows)
	row := GP64()
	eachRow := func(f func(i int)) {
		MOVQ(c, row)
		for i := range acc {
			f(i)
			if i < rows-1 {
				ADDQ(ldc, row)
			}
		}
	}
	for i := range acc {
		acc[i] = v.reg()
		v.zero(acc[i])
	}
	TESTB(accumulate, accumulate)
	JZ(LabelRef("steps"))
	eachRow(func(i int) { v.move(Mem{Base: row}, acc[i]) })
	Label("steps")
	TESTQ(k, k)
	JZ(LabelRef("store"))
	y := v.reg()
	v.move(Mem{Base: b}, y)
	for i := range acc {
		x := v.reg()
		v.broadcast(Mem{Base: a, Disp: i * v.size}, x)
		v.fmadd(y, x, acc[i])
	}
	ADDQ(I32(rows*v.size), a)
	ADDQ(I32(width*v.size), b)
	DECQ(k)
	JMP(LabelRef("steps"))
	Label("store")
	eachRow(func(i int) { v.move(acc[i], Mem{Base: row}) })
	end()
}
