package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// narrow emits the kernel of tile, or of rowTile, for the first half of its
// columns: one register in a row.
func narrow(v vector, rows int, packed bool) {
	width := tileRegs * v.lanes()
	kind, signature, element := "tile", "func(k int, a, b, c *%s, ldc int, accumulate bool)", fmt.Sprintf("a[l*%d+i]", rows)
	if !packed {
		kind, signature, element = "rows", "func(k int, a *%[1]s, lda int, b, c *%[1]s, ldc int, accumulate bool)", "a[i*lda+l]"
	}
	name := v.name(fmt.Sprintf("%s%dx%df", kind, rows, v.lanes()))
	begin(name, fmt.Sprintf(signature, v.elem()),
		name+" computes",
		"",
		fmt.Sprintf("\tfor i in 0…%d, j in 0…%d:", rows-1, v.lanes()-1),
		"\t\tacc = c[i*ldc+j] if accumulate, 0 if not",
		"\t\tfor l in 0…k-1:",
		fmt.Sprintf("\t\t\tacc = fma(%s, b[l*%d+j], acc)", element, width),
		"\t\tc[i*ldc+j] = acc")
	k := Load(Param("k"), GP64())
	b := Load(Param("b"), GP64())
	c := Load(Param("c"), GP64())
	ldc := Load(Param("ldc"), GP64())
	accumulate := Load(Param("accumulate"), GP8())
	SHLQ(U8(log2(v.size)), ldc)
	var at func(i int) Mem
	var advance func()
	if packed {
		a := Load(Param("a"), GP64())
		at = packedRow(v, a, 0)
		advance = func() { ADDQ(I32(rows*v.size), a) }
	} else {
		lda := Load(Param("lda"), GP64())
		SHLQ(U8(log2(v.size)), lda)
		a := newRowPointers(rows)
		a.load("a", lda)
		at = func(i int) Mem { return a.at(v, lda, i, 0) }
		advance = func() { a.advance(v, 1) }
	}

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
		v.broadcast(at(i), x)
		v.fmadd(y, x, acc[i])
	}
	advance()
	ADDQ(I32(width*v.size), b)
	DECQ(k)
	JMP(LabelRef("steps"))
	Label("store")
	eachRow(func(i int) { v.move(acc[i], Mem{Base: row}) })
	end()
}
