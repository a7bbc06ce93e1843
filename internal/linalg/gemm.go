package linalg

import (
	"fmt"
	"sync"
)

// Sizes of the blocks that are packed at once, after Goto and van de Geijn
// 2008, section 4: a block of A is blockRows×blockDepth, a block of B
// blockDepth×blockCols. A panel of A (12 rows of float32: 27 KB) stays in the
// first-level cache while B (2 MB) streams past it, so that C is written row
// by row. Chosen with BenchmarkGemm on a Zen 4 core.
const (
	blockRows  = 144
	blockDepth = 576
	blockCols  = 1024
)

// Gemm computes C ← A·B, or C ← C + A·B if accumulate is set, on the calling
// goroutine. C is m×n with ColStride 1, A is m×k, B is k×n, with any strides;
// C must not share memory with A or B.
//
//	c_ij ← fma(a_i(k-1), b_(k-1)j, … fma(a_i0, b_0j, z)),  z = c_ij or +0
//
// Gemm panics if the sizes do not match or a view leaves its slice.
func Gemm[T Float](c, a, b Mat[T], accumulate bool) {
	checkProduct(c, a, b)
	gemm(best(), c, a, b, accumulate)
}

// ParallelGemm is [Gemm] on up to workers goroutines. They split C; the
// result does not depend on workers.
func ParallelGemm[T Float](workers int, c, a, b Mat[T], accumulate bool) {
	checkProduct(c, a, b)
	parallelGemm(best(), workers, c, a, b, accumulate)
}

// checkProduct panics unless C can hold A·B.
func checkProduct[T Float](c, a, b Mat[T]) {
	c.checkOutput()
	a.check()
	b.check()
	if c.Rows != a.Rows || c.Cols != b.Cols || a.Cols != b.Rows {
		panic(fmt.Sprintf("linalg: %d×%d matrix for the product of %d×%d and %d×%d",
			c.Rows, c.Cols, a.Rows, a.Cols, b.Rows, b.Cols))
	}
}

// gemm is Gemm on the implementation i, without the checks.
func gemm[T Float](i isa, c, a, b Mat[T], accumulate bool) {
	if c.Rows == 0 || c.Cols == 0 {
		return
	}
	if a.Cols == 0 {
		if !accumulate {
			clearMat(c)
		}
		return
	}
	s := getScratch[T]()
	defer putScratch(s)
	_, nr := shape[T](i)
	for j := 0; j < c.Cols; j += blockCols {
		n := min(blockCols, c.Cols-j)
		for k := 0; k < a.Cols; k += blockDepth {
			kc := min(blockDepth, a.Cols-k)
			bp := panels[T]{data: grow(&s.b, roundUp(n, nr)*kc), stride: kc * nr}
			packCols(bp.data, nr, b.View(k, j, kc, n))
			st := step[T]{i, s, accumulate || k > 0}
			st.mul(c.View(0, j, c.Rows, n), a.View(0, k, a.Rows, kc), bp)
		}
	}
}

// panels is packed B: panel p, from data[p*stride] on, holds columns
// p*nr…p*nr+nr-1. The first column in use is col0.
type panels[T Float] struct {
	data   []T
	stride int
	col0   int
}

// A step is the part of a product from one block of the inner dimension.
type step[T Float] struct {
	isa        isa
	scratch    *scratch[T]
	accumulate bool // add to C
}

// mul computes C (+)= A·B, packing A block by block if it must be.
func (s step[T]) mul(c, a Mat[T], b panels[T]) {
	if lies(s.isa, a) {
		s.mulTiles(c, operand[T]{rows: a}, a.Cols, b)
		return
	}
	mr, _ := shape[T](s.isa)
	for r := 0; r < c.Rows; r += blockRows {
		rows := min(blockRows, c.Rows-r)
		ap := grow(&s.scratch.a, roundUp(rows, mr)*a.Cols)
		packRows(ap, s.isa, a.View(r, 0, rows, a.Cols))
		s.mulTiles(c.View(r, 0, rows, c.Cols), operand[T]{packed: ap}, a.Cols, b)
	}
}

// mulTiles computes C (+)= A·B with inner dimension k, tile by tile.
func (s step[T]) mulTiles(c Mat[T], a operand[T], k int, b panels[T]) {
	mr, nr := shape[T](s.isa)
	end := b.col0 + c.Cols
	for r := 0; r < c.Rows; r += mr {
		h := s.isa.tileRows(c.Rows - r)
		full := r+h <= c.Rows
		row := a.from(r, h, k)
		for p := b.col0 / nr; p*nr < end; {
			from, to := max(p*nr, b.col0), min(p*nr+nr, end)
			at := c.Data[r*c.RowStride+from-b.col0:]
			if whole := (end - from) / nr; whole > 0 && from == p*nr && full {
				bp := b.data[p*b.stride:][:(whole-1)*b.stride+k*nr]
				at = at[:(h-1)*c.RowStride+whole*nr]
				row.mul(s.isa, h, k, &bp[0], &at[0], c.RowStride, whole, b.stride, s.accumulate)
				p += whole
				continue
			}
			bp := b.data[p*b.stride:][:k*nr]
			p++
			if 2*(to-from) == nr && from%nr == 0 && full && row.mulNarrow(s.isa, h, k, &bp[0], &at[0], c.RowStride, s.accumulate) {
				continue
			}
			s.mulEdge(c.View(r, from-b.col0, min(h, c.Rows-r), to-from), h, from%nr, row.panel(&s.scratch.edge, h), bp)
		}
	}
}

// mulEdge computes a tile of h rows that C holds only in part, in the space
// of a whole one; C's first column is j of the tile.
func (s step[T]) mulEdge(c Mat[T], h, j int, a, b []T) {
	_, nr := shape[T](s.isa)
	t := &s.scratch.tile
	if s.accumulate {
		for r := range c.Rows {
			copy(t[r*nr+j:], c.Data[r*c.RowStride:][:c.Cols])
		}
	}
	tiles(s.isa, h, len(a)/h, &a[0], &b[0], &t[0], nr, 1, 0, s.accumulate)
	for r := range c.Rows {
		copy(c.Data[r*c.RowStride:][:c.Cols], t[r*nr+j:])
	}
}

// parallelGemm cuts the longer side of C at multiples of a tile.
func parallelGemm[T Float](i isa, workers int, c, a, b Mat[T], accumulate bool) {
	mr, nr := shape[T](i)
	byRows := c.Rows > c.Cols
	size, unit := c.Cols, nr
	if byRows {
		size, unit = c.Rows, mr
	}
	units := (size + unit - 1) / unit
	workers = min(workers, units)
	if workers <= 1 {
		gemm(i, c, a, b, accumulate)
		return
	}
	var wg sync.WaitGroup
	for w := range workers {
		from := units * w / workers * unit
		to := min(units*(w+1)/workers*unit, size)
		wg.Go(func() {
			if byRows {
				gemm(i, c.View(from, 0, to-from, c.Cols), a.View(from, 0, to-from, a.Cols), b, accumulate)
			} else {
				gemm(i, c.View(0, from, c.Rows, to-from), a, b.View(0, from, b.Rows, to-from), accumulate)
			}
		})
	}
	wg.Wait()
}

// clearMat sets c, which has columns, to 0.
func clearMat[T Float](c Mat[T]) {
	for r := range c.Rows {
		clear(c.Data[r*c.RowStride:][:c.Cols])
	}
}
