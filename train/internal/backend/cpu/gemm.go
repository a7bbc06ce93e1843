package cpu

import (
	"github.com/loratool/loratool/internal/linalg"
	"github.com/loratool/loratool/train/internal/backend"
)

// Gemm packs op(A) once for all products. Frozen right-hand factors are
// decoded block by block on the way into the packed panels. A single row
// is multiplied without packing.
func (b *Backend) Gemm(a backend.Mat, ta bool, products ...backend.Product) {
	if !ta && a.Rows == 1 && !a.Empty() && a.Mem.(*mem).values != nil {
		for _, p := range products {
			b.vector(values(a).row(0), p)
		}
		return
	}
	left, release := b.left(a)
	defer release()
	if ta {
		left = left.T()
	}
	terms := make([]linalg.Term[float32], len(products))
	for i, p := range products {
		terms[i] = linalg.Term[float32]{C: writable(p.C).linalg(), B: factor(p.B, p.TB), Add: p.Add}
	}
	linalg.Products(b.workers, left, terms...)
}

// left returns a, decoded if it must be.
func (b *Backend) left(a backend.Mat) (m linalg.Mat[float32], release func()) {
	if a.Empty() || a.Mem.(*mem).values != nil {
		return values(a).linalg(), func() {}
	}
	buf := b.buffer(a.Rows * a.Cols)
	b.split(a.Rows, a.Cols, func(from, to int) {
		for i := from; i < to; i++ {
			rowOf(a, i, (*buf)[i*a.Cols:][:a.Cols])
		}
	})
	return linalg.Dense(*buf, a.Rows, a.Cols), func() { b.release(buf) }
}

// factor returns op(m) as a right-hand factor.
func factor(m backend.Mat, transposed bool) linalg.Factor[float32] {
	if m.Empty() || m.Mem.(*mem).values != nil {
		v := values(m).linalg()
		if transposed {
			v = v.T()
		}
		return linalg.FactorOf(v)
	}
	f := linalg.Factor[float32]{Rows: m.Rows, Cols: m.Cols}
	if transposed {
		f.Rows, f.Cols = m.Cols, m.Rows
	}
	f.Block = func(buf []float32, i, j, rows, cols int) linalg.Mat[float32] {
		if transposed {
			return decodeBlock(m.View(j, i, cols, rows), buf).T()
		}
		return decodeBlock(m.View(i, j, rows, cols), buf)
	}
	return f
}

func decodeBlock(m backend.Mat, buf []float32) linalg.Mat[float32] {
	for r := range m.Rows {
		rowOf(m, r, buf[r*m.Cols:][:m.Cols])
	}
	return linalg.Dense(buf, m.Rows, m.Cols)
}
