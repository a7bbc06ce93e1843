package cpu

import (
	"math"

	"github.com/loratool/loratool/train/internal/backend"
)

// Zero clears x.
func (b *Backend) Zero(x backend.Mat) {
	xm := writable(x)
	b.split(x.Rows, x.Cols, func(from, to int) {
		for i := from; i < to; i++ {
			clear(xm.row(i))
		}
	})
}

// Copy computes y ← x.
func (b *Backend) Copy(y, x backend.Mat) {
	same(y, x)
	ym := writable(y)
	b.split(x.Rows, x.Cols, func(from, to int) {
		for i := from; i < to; i++ {
			rowOf(x, i, ym.row(i))
		}
	})
}

// Add computes y ← y + alpha·x.
func (b *Backend) Add(y, x backend.Mat, alpha float32) {
	writable(y)
	k := best()
	b.rows3(y, x, x, func(y, x, _ []float32) { k.addScaled(y, x, alpha) })
}

// Scale computes x ← alpha·x.
func (b *Backend) Scale(x backend.Mat, alpha float32) {
	writable(x)
	k := best()
	b.rows3(x, x, x, func(x, _, _ []float32) { k.scale(x, alpha) })
}

// AddBias adds a row to every row.
func (b *Backend) AddBias(y, bias backend.Mat) {
	ym, v := writable(y), vector(bias)
	checkLen(len(v), y.Cols)
	b.split(y.Rows, y.Cols, func(from, to int) {
		for i := from; i < to; i++ {
			row := ym.row(i)
			for j, x := range v {
				row[j] += x
			}
		}
	})
}

// BiasGrad adds the sum of the rows.
func (b *Backend) BiasGrad(db, dy backend.Mat) {
	checkLen(db.Cols, dy.Cols)
	m := values(dy)
	b.columns(writable(db).row(0), dy.Rows, func(acc []float64, i, from int) {
		for j, d := range m.row(i)[from:][:len(acc)] {
			acc[j] += float64(d)
		}
	})
}

// ScaleCols scales columns.
func (b *Backend) ScaleCols(y, x, s backend.Mat) {
	writable(y)
	v := vector(s)
	checkLen(len(v), y.Cols)
	b.rows3(y, x, x, func(y, x, _ []float32) {
		for j, f := range v {
			y[j] = x[j] * f
		}
	})
}

// ColDot adds the scalar products of columns.
func (b *Backend) ColDot(sum, x, y backend.Mat) {
	same(x, y)
	xm, ym := values(x), values(y)
	b.columns(writable(sum).row(0), x.Rows, func(acc []float64, i, from int) {
		ys := ym.row(i)[from:]
		for j, v := range xm.row(i)[from:][:len(acc)] {
			acc[j] += float64(float64(v) * float64(ys[j]))
		}
	})
}

// RowNorms computes, in float64,
//
//	‖w_i + s·b_i·A‖² = ‖w_i‖² + 2s·b_i·(A·w_i) + s²·b_iᵀ·(A·Aᵀ)·b_i
func (b *Backend) RowNorms(norm, w, wa, aa, bt backend.Mat, transposed bool, scale float32) {
	out, wam, aam, btm := writable(norm).row(0), values(wa), values(aa), values(bt)
	squares := b.rowSquares(w, transposed)
	r, s := bt.Rows, float64(scale)
	b.split(len(out), r*r, func(from, to int) {
		for i := from; i < to; i++ {
			var cross, own float64
			for k := range r {
				x := float64(btm.row(k)[i])
				cross += float64(x * float64(wam.row(i)[k]))
				for l := range r {
					own += float64(float64(x*float64(btm.row(l)[i])) * float64(aam.row(k)[l]))
				}
			}
			out[i] = float32(math.Sqrt(max(0, squares[i]+float64(2*s*cross)+float64(s*s*own))))
		}
	})
}

// rowSquares returns Σ w² of each row of w, or of each column if transposed.
func (b *Backend) rowSquares(w backend.Mat, transposed bool) []float64 {
	if transposed {
		sums := make([]float64, w.Cols)
		buf := make([]float32, w.Cols)
		for i := range w.Rows {
			for j, x := range rowOf(w, i, buf) {
				sums[j] += float64(float64(x) * float64(x))
			}
		}
		return sums
	}
	sums := make([]float64, w.Rows)
	b.split(w.Rows, w.Cols, func(from, to int) {
		buf := make([]float32, w.Cols)
		for i := from; i < to; i++ {
			sums[i] = sumSquares(rowOf(w, i, buf))
		}
	})
	return sums
}

// Divide divides rows.
func (b *Backend) Divide(y, x, z backend.Mat) {
	writable(y)
	b.rows3(y, x, z, func(y, x, z []float32) {
		for j, v := range x {
			y[j] = v / z[j]
		}
	})
}

// Gather copies rows of a table.
func (b *Backend) Gather(y, table backend.Mat, ids []int32) {
	checkLen(len(ids), y.Rows)
	checkLen(table.Cols, y.Cols)
	ym := writable(y)
	b.split(y.Rows, y.Cols, func(from, to int) {
		for i := from; i < to; i++ {
			if id := int(ids[i]); id >= 0 && id < table.Rows {
				rowOf(table, id, ym.row(i))
			}
		}
	})
}

// Scatter adds rows to a table; goroutines take columns.
func (b *Backend) Scatter(dtable, dy backend.Mat, ids []int32) {
	checkLen(len(ids), dy.Rows)
	checkLen(dtable.Cols, dy.Cols)
	tm, dm := writable(dtable), values(dy)
	b.split(dy.Cols, dy.Rows, func(from, to int) {
		for i, id := range ids {
			if id < 0 || int(id) >= dtable.Rows {
				continue
			}
			row := tm.row(int(id))[from:to]
			for j, x := range dm.row(i)[from:to] {
				row[j] += x
			}
		}
	})
}

// Overwrite replaces rows.
func (b *Backend) Overwrite(y, src backend.Mat, ids []int32) {
	checkLen(len(ids), y.Rows)
	ym, sm := writable(y), values(src)
	for i, id := range ids {
		if id >= 0 {
			copy(ym.row(i), sm.row(int(id)))
		}
	}
}

// OverwriteGrad takes the gradients of replaced rows.
func (b *Backend) OverwriteGrad(dsrc, dy backend.Mat, ids []int32) {
	checkLen(len(ids), dy.Rows)
	sm, dm := writable(dsrc), writable(dy)
	for i, id := range ids {
		if id < 0 {
			continue
		}
		to := sm.row(int(id))
		for j, x := range dm.row(i) {
			to[j] += x
		}
		clear(dm.row(i))
	}
}
