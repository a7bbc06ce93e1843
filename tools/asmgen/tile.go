package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

const (
	tileRegs = 2 // registers in a row of a tile
	unroll   = 4 // steps of k in one turn of the loop
)

// tile emits the kernel of a matrix product for rows rows of C. It holds the
// tile of C in rows×2 registers, and for each step of k loads two registers
// of B and broadcasts each element of A.
func tile(v vector, rows int) {
	name := v.name(fmt.Sprintf("tile%dx%df", rows, tileRegs*v.lanes()))
	begin(name, fmt.Sprintf("func(k int, a, b, c *%s, ldc int, accumulate bool)", v.elem()),
		name+" computes",
		"",
		fmt.Sprintf("\tfor i in 0…%d, j in 0…%d:", rows-1, tileRegs*v.lanes()-1),
		"\t\tacc = c[i*ldc+j] if accumulate, 0 if not",
		"\t\tfor l in 0…k-1:",
		fmt.Sprintf("\t\t\tacc = fma(a[l*%d+i], b[l*%d+j], acc)", rows, tileRegs*v.lanes()),
		"\t\tc[i*ldc+j] = acc")

	k := Load(Param("k"), GP64())
	a := Load(Param("a"), GP64())
	b := Load(Param("b"), GP64())
	c := Load(Param("c"), GP64())
	ldc := Load(Param("ldc"), GP64())
	accumulate := Load(Param("accumulate"), GP8())
	SHLQ(U8(log2(v.size)), ldc)

	acc := make([][tileRegs]VecVirtual, rows)
	for i := range acc {
		acc[i] = [tileRegs]VecVirtual{v.reg(), v.reg()}
	}
	loadTile(v, acc, c, ldc, accumulate)

	step := func(n int) {
		for u := range n {
			tileStep(v, acc, a, b, u)
		}
		ADDQ(I32(n*rows*v.size), a)
		ADDQ(I32(n*tileRegs*v.bytes()), b)
		SUBQ(I8(n), k)
	}
	Label("steps")
	CMPQ(k, I8(unroll))
	JLT(LabelRef("rest"))
	step(unroll)
	JMP(LabelRef("steps"))
	Label("rest")
	TESTQ(k, k)
	JZ(LabelRef("store"))
	step(1)
	JMP(LabelRef("rest"))

	Label("store")
	for i := range acc {
		for j, r := range acc[i] {
			v.move(r, Mem{Base: c, Disp: j * v.bytes()})
		}
		if i < rows-1 {
			ADDQ(ldc, c)
		}
	}
	end()
}

// loadTile loads the tile from C, or clears it and brings C into the cache.
func loadTile(v vector, acc [][tileRegs]VecVirtual, c, ldc, accumulate Register) {
	row := GP64()
	MOVQ(c, row)
	TESTB(accumulate, accumulate)
	JZ(LabelRef("clear"))
	for i := range acc {
		for j, r := range acc[i] {
			v.move(Mem{Base: row, Disp: j * v.bytes()}, r)
		}
		if i < len(acc)-1 {
			ADDQ(ldc, row)
		}
	}
	JMP(LabelRef("steps"))
	Label("clear")
	for i := range acc {
		for _, r := range acc[i] {
			v.zero(r)
		}
		for d := 0; d < tileRegs*v.bytes(); d += 64 {
			PREFETCHT0(Mem{Base: row, Disp: d})
		}
		if i < len(acc)-1 {
			ADDQ(ldc, row)
		}
	}
}

// tileStep emits step u after a and b of the loop over k.
func tileStep(v vector, acc [][tileRegs]VecVirtual, a, b Register, u int) {
	var y [tileRegs]VecVirtual
	for j := range y {
		y[j] = v.reg()
		v.move(Mem{Base: b, Disp: (u*tileRegs + j) * v.bytes()}, y[j])
	}
	for i := range acc {
		x := v.reg()
		v.broadcast(Mem{Base: a, Disp: (u*len(acc) + i) * v.size}, x)
		for j := range y {
			v.fmadd(y[j], x, acc[i][j])
		}
	}
}

func log2(size int) uint64 {
	if size == 4 {
		return 2
	}
	return 3
}
