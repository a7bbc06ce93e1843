package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// rowPointers reach rows of a matrix as they lie: each points to the first of
// rowsPerPointer rows, the others are multiples of their distance behind.
type rowPointers []GPVirtual

const rowsPerPointer = 3

func newRowPointers(rows int) rowPointers {
	p := make(rowPointers, (rows+rowsPerPointer-1)/rowsPerPointer)
	for i := range p {
		p[i] = GP64()
	}
	return p
}

// load points to the rows of a parameter, which are stride bytes apart.
func (p rowPointers) load(first string, stride Register) {
	Load(Param(first), p[0])
	for i := 1; i < len(p); i++ {
		LEAQ(Mem{Base: p[i-1], Index: stride, Scale: 2}, p[i])
		ADDQ(stride, p[i])
	}
}

// at returns element u behind the pointer of row i.
func (p rowPointers) at(v vector, stride Register, i, u int) Mem {
	m := Mem{Base: p[i/rowsPerPointer], Disp: u * v.size}
	if n := i % rowsPerPointer; n > 0 {
		m.Index, m.Scale = stride, uint8(n)
	}
	return m
}

func (p rowPointers) advance(v vector, elements int) {
	for _, r := range p {
		ADDQ(I32(elements*v.size), r)
	}
}

// rowTile emits the kernel of tile for an A that is not packed: its rows are
// lda apart. Panel by panel it asks for the rows behind them, which the next
// call is likely to want, rowsPerPointer at a time. There are few registers, so
// it reads arguments anew for every panel.
func rowTile(v vector, rows int) {
	width := tileRegs * v.lanes()
	name := v.name(fmt.Sprintf("rows%dx%df", rows, width))
	begin(name, fmt.Sprintf("func(k int, a *%[1]s, lda int, b, c *%[1]s, ldc, count, stride int, accumulate bool)", v.elem()),
		name+" computes, for count panels, at least one,",
		"",
		"\tfor p in 0…count-1:",
		fmt.Sprintf("\t\tfor i in 0…%d, j in 0…%d:", rows-1, width-1),
		fmt.Sprintf("\t\t\tacc = c[i*ldc+p*%d+j] if accumulate, 0 if not", width),
		"\t\t\tfor l in 0…k-1:",
		fmt.Sprintf("\t\t\t\tacc = fma(a[i*lda+l], b[p*stride+l*%d+j], acc)", width),
		fmt.Sprintf("\t\t\tc[i*ldc+p*%d+j] = acc", width))
	panel := Load(Param("b"), GP64())
	c := Load(Param("c"), GP64())
	lda := Load(Param("lda"), GP64())
	ldc := Load(Param("ldc"), GP64())
	count := Load(Param("count"), GP64())
	SHLQ(U8(log2(v.size)), lda)
	SHLQ(U8(log2(v.size)), ldc)
	k, b, a := GP64(), GP64(), newRowPointers(rows)
	ahead := GP64()
	IMUL3Q(U8(rows), lda, ahead)
	ADDQ(Load(Param("a"), GP64()), ahead)

	acc := tileRegisters(v, rows)
	Label("panel")
	a.load("a", lda)
	MOVQ(panel, b)
	loadTile(v, acc, c, ldc, Load(Param("accumulate"), GP8()))
	Load(Param("k"), k)

	step := func(n int) {
		for u := range n {
			tileStep(v, acc, b, u, func(i int) Mem { return a.at(v, lda, i, u) })
		}
		a.advance(v, n)
		PREFETCHT0(Mem{Base: ahead})
		PREFETCHT0(Mem{Base: ahead, Index: lda, Scale: 1})
		PREFETCHT0(Mem{Base: ahead, Index: lda, Scale: 2})
		ADDQ(I32(n*v.size), ahead)
		ADDQ(I32(n*tileRegs*v.bytes()), b)
		SUBQ(I8(n), k)
	}
	eachStep(k, step)
	Label("store")
	storeTile(v, acc, c, ldc)
	Load(Param("k"), k)
	SHLQ(U8(log2(v.size)), k)
	SUBQ(k, ahead)
	LEAQ(Mem{Base: ahead, Index: lda, Scale: 2}, ahead)
	ADDQ(lda, ahead)
	ADDQ(I32(tileRegs*v.bytes()), c)
	stride := Load(Param("stride"), GP64())
	SHLQ(U8(log2(v.size)), stride)
	ADDQ(stride, panel)
	DECQ(count)
	JNZ(LabelRef("panel"))
	end()
}
