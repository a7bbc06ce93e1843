package linalg

import "fmt"

// A Packed is a right-hand factor B, k×n, laid out for products with many
// left-hand factors. The zero value is an empty matrix. Several goroutines
// may call Mul at once, but not during Pack.
type Packed[T Float] struct {
	isa    isa
	k, n   int
	panels []T
}

// Pack makes p a copy of b, which may have any strides. It reuses p's memory
// if that is large enough.
func (p *Packed[T]) Pack(b Mat[T]) {
	b.check()
	p.pack(best(), b)
}

func (p *Packed[T]) pack(i isa, b Mat[T]) {
	_, nr := shape[T](i)
	p.isa, p.k, p.n = i, b.Rows, b.Cols
	packCols(grow(&p.panels, roundUp(p.n, nr)*p.k), nr, b)
}

// Mul computes C ← A·B[:, col0:col0+c.Cols]; see [Gemm] for the arithmetic.
// C is m×c.Cols with ColStride 1, A is m×k with any strides. Mul does not
// allocate once its pool is warm.
func (p *Packed[T]) Mul(c, a Mat[T], col0 int) { p.mul(c, a, p.allRows(a), col0, false) }

// MulRows computes C ← A·B[row0:row0+a.Cols, :c.Cols]; see [Packed.Mul].
func (p *Packed[T]) MulRows(c, a Mat[T], row0 int) { p.mul(c, a, row0, 0, false) }

// MulAdd computes C ← C + A·B[:, col0:col0+c.Cols]; see [Packed.Mul].
func (p *Packed[T]) MulAdd(c, a Mat[T], col0 int) { p.mul(c, a, p.allRows(a), col0, true) }

// allRows returns the first of all rows of B, and panics unless A has as many
// columns.
func (p *Packed[T]) allRows(a Mat[T]) int {
	if a.Cols != p.k {
		panic(fmt.Sprintf("linalg: %d columns for the product with %d rows", a.Cols, p.k))
	}
	return 0
}

func (p *Packed[T]) mul(c, a Mat[T], row0, col0 int, accumulate bool) {
	c.checkOutput()
	a.check()
	if c.Rows != a.Rows || row0 < 0 || row0 > p.k-a.Cols || col0 < 0 || col0 > p.n-c.Cols {
		panic(fmt.Sprintf("linalg: %d×%d matrix for the product of %d×%d and rows %d… and columns %d… of %d×%d",
			c.Rows, c.Cols, a.Rows, a.Cols, row0, col0, p.k, p.n))
	}
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
	_, nr := shape[T](p.isa)
	for k := 0; k < a.Cols; k += blockDepth {
		kc := min(blockDepth, a.Cols-k)
		b := panels[T]{data: p.panels[(row0+k)*nr:], stride: p.k * nr, col0: col0}
		st := step[T]{p.isa, s, accumulate || k > 0}
		st.mul(c, a.View(0, k, a.Rows, kc), b)
	}
}
