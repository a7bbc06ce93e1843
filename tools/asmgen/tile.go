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

	firstFree = 24 // register behind the largest tile, of 12 rows
)

// tile emits the kernel of a matrix product for rows rows of C, panel after
// panel of B. It holds a tile of C in rows×2 registers, and for each step of k
// loads two registers of B and broadcasts each element of A.
func tile(v vector, rows int) {
	width := tileRegs * v.lanes()
	name := v.name(fmt.Sprintf("tile%dx%df", rows, width))
	doc := []string{
		name + " computes, for count panels, at least one,",
		"",
		"\tfor p in 0…count-1:",
		fmt.Sprintf("\t\tfor i in 0…%d, j in 0…%d:", rows-1, width-1),
		fmt.Sprintf("\t\t\tacc = c[i*ldc+p*%d+j] if accumulate, 0 if not", width),
		"\t\t\tfor l in 0…k-1:",
	}
	doc = append(doc, v.stepDoc(fmt.Sprintf("a[l*%d+i]", rows), fmt.Sprintf("b[p*stride+l*%d+j]", width))...)
	begin(name, fmt.Sprintf("func(k int, a, b, c *%s, ldc, count, stride int, accumulate bool)", v.elem()),
		append(doc, fmt.Sprintf("\t\t\tc[i*ldc+p*%d+j] = acc", width))...)
	restore := v.flushSubnormals()

	depth := Load(Param("k"), GP64())
	left := Load(Param("a"), GP64())
	panel := Load(Param("b"), GP64())
	c := Load(Param("c"), GP64())
	ldc := Load(Param("ldc"), GP64())
	count := Load(Param("count"), GP64())
	stride := Load(Param("stride"), GP64())
	accumulate := Load(Param("accumulate"), GP8())
	SHLQ(U8(log2(v.size)), ldc)
	SHLQ(U8(log2(v.size)), stride)
	k, a, b := GP64(), GP64(), GP64()

	acc := tileRegisters(v, rows)
	Label("panel")
	MOVQ(depth, k)
	MOVQ(left, a)
	MOVQ(panel, b)
	loadTile(v, acc, c, ldc, accumulate)

	step := func(n int) {
		for u := range n {
			tileStep(v, acc, b, u, packedRow(v, a, u*rows))
		}
		ADDQ(I32(n*rows*v.size), a)
		ADDQ(I32(n*tileRegs*v.bytes()), b)
		SUBQ(I8(n), k)
	}
	eachStep(k, step)
	Label("store")
	storeTile(v, acc, c, ldc)
	ADDQ(I32(tileRegs*v.bytes()), c)
	ADDQ(stride, panel)
	DECQ(count)
	JNZ(LabelRef("panel"))
	restore()
	end()
}

// eachStep emits the loop over k, unroll steps at a time while there are as
// many. Step counts k down; after the last it goes to store.
func eachStep(k Register, step func(n int)) {
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
}

// stepDoc says what a step of the loop over k does.
func (v vector) stepDoc(a, b string) []string {
	switch {
	case v.pairs:
		return []string{
			fmt.Sprintf("\t\t\t\tacc = flush(fma(high(%s), high(%s), acc))", a, b),
			fmt.Sprintf("\t\t\t\tacc = flush(fma(low(%s), low(%s), acc))", a, b),
		}
	case v.flush:
		return []string{fmt.Sprintf("\t\t\t\tacc = flush(fma(%s, %s, acc))", a, b)}
	}
	return []string{fmt.Sprintf("\t\t\t\tacc = fma(%s, %s, acc)", a, b)}
}

// tileRegisters allocates the registers of a tile, row by row.
func tileRegisters(v vector, rows int) [][tileRegs]Register {
	acc := make([][tileRegs]Register, rows)
	for i := range acc {
		for j := range acc[i] {
			acc[i][j] = v.tileReg(i*tileRegs + j)
		}
	}
	return acc
}

// loadTile loads the tile from C, or clears it and brings C into the cache.
func loadTile(v vector, acc [][tileRegs]Register, c, ldc, accumulate Register) {
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
	JMP(LabelRef("begin"))
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
	Label("begin")
}

// storeTile stores the tile in C.
func storeTile(v vector, acc [][tileRegs]Register, c, ldc Register) {
	row := GP64()
	MOVQ(c, row)
	for i := range acc {
		for j, r := range acc[i] {
			v.move(r, Mem{Base: row, Disp: j * v.bytes()})
		}
		if i < len(acc)-1 {
			ADDQ(ldc, row)
		}
	}
}

// packedRow returns where the element of A for row i of a tile is in a panel,
// first elements behind a.
func packedRow(v vector, a Register, first int) func(i int) Mem {
	return func(i int) Mem { return Mem{Base: a, Disp: (first + i) * v.size} }
}

// tileStep emits step u after b of the loop over k; at returns the element of A
// for a row.
func tileStep(v vector, acc [][tileRegs]Register, b Register, u int, at func(i int) Mem) {
	var y [tileRegs]Register
	for j := range y {
		y[j] = v.tileReg(firstFree + j)
		v.move(Mem{Base: b, Disp: (u*tileRegs + j) * v.bytes()}, y[j])
	}
	for i := range acc {
		x := v.tileReg(firstFree + tileRegs + i%(32-firstFree-tileRegs))
		v.broadcast(at(i), x)
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
