package cpu

import (
	"github.com/loratool/loratool/internal/linalg"
	"github.com/loratool/loratool/train/internal/backend"
)

// vector computes the product of one row, as in generating a text. Memory is
// the limit there: the other factor is read as it lies, row by row, where a
// packed copy would be read but once. The sums are not those of linalg.Gemm.
func (b *Backend) vector(a []float32, p backend.Product) {
	if p.TB {
		b.dots(a, p)
		return
	}
	b.sums(a, p)
}

// dots computes c_j = a·b_j for rows of B. Goroutines take rows of B.
func (b *Backend) dots(a []float32, p backend.Product) {
	c, k := writable(p.C).row(0), best()
	b.split(p.B.Rows, p.B.Cols, func(from, to int) {
		buf := b.buffer(p.B.Cols)
		defer b.release(buf)
		for j := from; j < to; j++ {
			x := k.dot(a, decodedRow(p.B, j, *buf))
			if p.Add {
				x += c[j]
			}
			c[j] = x
		}
	})
}

// sumCols is the fewest columns that sums reads of a row at a time, 512 bytes
// of float32.
const sumCols = 128

// sums computes c = Σ_l a_l·b_l for rows of B, in order. Goroutines take
// columns.
func (b *Backend) sums(a []float32, p backend.Product) {
	c, k := writable(p.C).row(0), best()
	width := max(sumCols, grain/max(p.B.Rows, 1))
	linalg.Parallel(b.workers, (p.B.Cols+width-1)/width, func(n int) {
		from, to := n*width, min((n+1)*width, p.B.Cols)
		buf := b.buffer(to - from)
		defer b.release(buf)
		if !p.Add {
			clear(c[from:to])
		}
		part := p.B.Columns(from, to-from)
		for l, x := range a {
			k.addScaled(c[from:to], decodedRow(part, l, *buf), x)
		}
	})
}

// decodedRow returns row i of m where it lies, or in buf if it must be decoded.
func decodedRow(m backend.Mat, i int, buf []float32) []float32 {
	if h := m.Mem.(*mem); h.values != nil {
		return h.values[m.Off+i*m.Stride:][:m.Cols]
	}
	return rowOf(m, i, buf)
}
