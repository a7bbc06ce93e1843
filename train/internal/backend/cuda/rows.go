//go:build cuda

package cuda

import (
	"math"
	"unsafe"

	"gorgonia.org/cu"

	"github.com/loratool/loratool/train/internal/backend"
)

// Zero clears x.
func (b *Backend) Zero(x backend.Mat) {
	to := writable(x)
	b.do(func() error { return b.elements("fill", x.Rows*x.Cols, to, x.Rows, x.Cols, x.Stride, float32(0)) })
}

// Copy computes y ← x.
func (b *Backend) Copy(y, x backend.Mat) {
	same(y, x)
	to := writable(y)
	b.do(func() error {
		return b.elements("copy", x.Rows*x.Cols, to, y.Stride, at(x), x.Stride, code(x), x.Rows, x.Cols)
	})
}

// Add computes y ← y + alpha·x.
func (b *Backend) Add(y, x backend.Mat, alpha float32) {
	same(y, x)
	to, from := writable(y), values(x)
	b.do(func() error {
		return b.elements("add", x.Rows*x.Cols, to, y.Stride, from, x.Stride, x.Rows, x.Cols, alpha)
	})
}

// Scale computes x ← alpha·x.
func (b *Backend) Scale(x backend.Mat, alpha float32) {
	to := writable(x)
	b.do(func() error { return b.elements("scale", x.Rows*x.Cols, to, x.Stride, x.Rows, x.Cols, alpha) })
}

// AddBias adds a row to every row.
func (b *Backend) AddBias(y, bias backend.Mat) {
	checkLen(bias.Cols, y.Cols)
	to := writable(y)
	b.do(func() error {
		return b.elements("add_bias", y.Rows*y.Cols, to, y.Stride, at(bias), code(bias), y.Rows, y.Cols)
	})
}

// BiasGrad adds the sum of the rows.
func (b *Backend) BiasGrad(db, dy backend.Mat) {
	checkLen(db.Cols, dy.Cols)
	b.columns(db, dy, backend.Mat{}, backend.Mat{})
}

// ColDot adds the scalar products of columns.
func (b *Backend) ColDot(sum, x, y backend.Mat) {
	same(x, y)
	b.columns(sum, x, y, backend.Mat{})
}

// columns sums columns; see col_sum in kernels.cu.
func (b *Backend) columns(sum, x, y, stat backend.Mat) {
	to, from, with, statistics := writable(sum), values(x), values(y), values(stat)
	b.do(func() error {
		return b.elements("col_sum", x.Cols, to, from, x.Stride, with, y.Stride, statistics, stat.Stride, x.Rows, x.Cols)
	})
}

// ScaleCols scales columns.
func (b *Backend) ScaleCols(y, x, s backend.Mat) {
	same(y, x)
	checkLen(s.Cols, y.Cols)
	to, from := writable(y), values(x)
	b.do(func() error {
		return b.elements("scale_cols", x.Rows*x.Cols, to, y.Stride, from, x.Stride, at(s), code(s), x.Rows, x.Cols)
	})
}

// RowNorms computes the norms of rows of W + s·(A·Bt)ᵀ.
func (b *Backend) RowNorms(norm, w, wa, aa, bt backend.Mat, transposed bool, scale float32) {
	to := writable(norm)
	rows, cols := w.Rows, w.Cols
	if transposed {
		rows, cols = cols, rows
	}
	checkLen(norm.Cols, rows)
	b.do(func() error {
		sums, err := b.sums.grow(8 * rows)
		if err != nil {
			return err
		}
		if err := b.blocks("b_row_squares", rows, sums, at(w), w.Stride, code(w), rows, cols, transposed); err != nil {
			return err
		}
		return b.elements("row_norms", rows, to, sums, values(wa), wa.Stride, values(aa), aa.Stride, values(bt), bt.Stride, rows, bt.Rows, scale)
	})
}

// Divide divides rows.
func (b *Backend) Divide(y, x, z backend.Mat) {
	same(y, x, z)
	to, from, by := writable(y), values(x), values(z)
	b.do(func() error { return b.elements("divide", x.Cols, to, from, by, x.Cols) })
}

// Gather copies rows of a table.
func (b *Backend) Gather(y, table backend.Mat, ids []int32) {
	checkLen(len(ids), y.Rows)
	checkLen(table.Cols, y.Cols)
	b.take(y, table, ids, table.Rows)
}

// Overwrite replaces rows.
func (b *Backend) Overwrite(y, src backend.Mat, ids []int32) {
	checkLen(len(ids), y.Rows)
	checkLen(src.Cols, y.Cols)
	b.take(y, src, ids, src.Rows)
}

func (b *Backend) take(y, table backend.Mat, ids []int32, rows int) {
	to := writable(y)
	b.do(func() error {
		list, err := b.upload(ids)
		if err != nil {
			return err
		}
		return b.elements("gather", y.Rows*y.Cols, to, y.Stride, at(table), table.Stride, code(table), list, y.Rows, y.Cols, rows)
	})
}

// Scatter adds rows to a table.
func (b *Backend) Scatter(dtable, dy backend.Mat, ids []int32) { b.give(dtable, dy, ids, false) }

// OverwriteGrad takes the gradients of replaced rows.
func (b *Backend) OverwriteGrad(dsrc, dy backend.Mat, ids []int32) { b.give(dsrc, dy, ids, true) }

func (b *Backend) give(dtable, dy backend.Mat, ids []int32, clear bool) {
	checkLen(len(ids), dy.Rows)
	checkLen(dtable.Cols, dy.Cols)
	to, from := writable(dtable), values(dy)
	b.do(func() error {
		list, err := b.upload(ids)
		if err != nil {
			return err
		}
		return b.elements("scatter", dy.Cols, to, dtable.Stride, from, dy.Stride, list, dy.Rows, dy.Cols, dtable.Rows, clear)
	})
}

// CrossEntropy computes losses and gradients of rows of logits in place.
func (b *Backend) CrossEntropy(loss, logits backend.Mat, targets []int32, scale, smoothing float32, grad bool) {
	checkLen(len(targets), logits.Rows)
	to, x := writable(loss), writable(logits)
	b.do(func() error {
		list, err := b.upload(targets)
		if err != nil {
			return err
		}
		return b.blocks("b_cross_entropy", logits.Rows, to, loss.Stride, x, logits.Stride, list, logits.Rows, logits.Cols, scale, smoothing, grad)
	})
}

// SumSq sums squares row by row on the GPU and the rows here.
func (b *Backend) SumSq(x backend.Mat) (total float64) {
	if x.Empty() {
		return 0
	}
	sums := make([]float64, x.Rows)
	from := values(x)
	b.do(func() error {
		to, err := b.sums.grow(8 * x.Rows)
		if err != nil {
			return err
		}
		if err := b.blocks("b_row_squares", x.Rows, to, from, x.Stride, 0, x.Rows, x.Cols, false); err != nil {
			return err
		}
		return cu.MemcpyDtoH(unsafe.Pointer(&sums[0]), to, int64(8*x.Rows))
	})
	for _, s := range sums {
		total += s
	}
	return total
}

// AdamW updates parameters; see backend.Adam for the arithmetic.
func (b *Backend) AdamW(p, g, m, v backend.Mat, a backend.Adam) {
	same(p, g, m, v)
	to, grad, first, second := writable(p), values(g), writable(m), writable(v)
	b.do(func() error {
		return b.elements("adamw", p.Rows*p.Cols, to, p.Stride, grad, g.Stride, first, m.Stride, second, v.Stride, p.Rows, p.Cols,
			float32(1-a.LR*a.Decay), float32(a.GradScale), float32(1-a.Beta1), float32(a.Beta2), float32(1-a.Beta2),
			float32(math.Sqrt(a.C2)), float32(a.Eps), float32(a.LR/a.C1))
	})
}
