package cpu

import (
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/internal/linalg"
	"github.com/loratool/loratool/train/internal/backend"
)

// Gemm packs op(A) once for all products in float32 and once for those with
// frozen BF16 weights, which are linalg.ProductsBF16; see SetExact. Other
// frozen right-hand factors are decoded block by block on the way into the
// packed panels. In float32 a single row is multiplied without packing.
func (b *Backend) Gemm(a backend.Mat, ta bool, products ...backend.Product) {
	if !ta && a.Rows == 1 && !a.Empty() && a.Mem.(*mem).values != nil {
		b.gemmRow(a, products)
		return
	}
	left, release := b.left(a)
	defer release()
	if ta {
		left = left.T()
	}
	var terms []linalg.Term[float32]
	var shorts []linalg.Short[float32]
	var terms16 []linalg.BF16Term
	for _, p := range products {
		c := writable(p.C).linalg()
		var u, v linalg.Mat[float32]
		if p.Low != nil {
			u, v = writable(p.Low.U).linalg(), values(p.Low.V).linalg()
			shorts = append(shorts, linalg.Short[float32]{C: u, B: values(p.Low.A).linalg().T(), Scale: p.Low.Scale})
		}
		if m, ok := b.rounded(p.B); ok && !ta {
			terms16 = append(terms16, linalg.BF16Term{C: c, B: m, TB: p.TB, Add: p.Add, U: u, V: v})
			continue
		}
		terms = append(terms, linalg.Term[float32]{C: c, B: factor(p.B, p.TB), Add: p.Add, U: u, V: v})
	}
	if len(terms)+len(shorts) > 0 {
		l := linalg.NewLeft(b.workers, left, shorts...)
		defer l.Close()
		l.Products(terms...)
	}
	if len(terms16) > 0 {
		linalg.ProductsBF16(b.workers, left, terms16...)
	}
}

// gemmRow is Gemm of one row.
func (b *Backend) gemmRow(a backend.Mat, products []backend.Product) {
	row := values(a).row(0)
	for _, p := range products {
		if m, ok := b.rounded(p.B); ok {
			linalg.ProductsBF16(b.workers, values(a).linalg(), linalg.BF16Term{C: writable(p.C).linalg(), B: m, TB: p.TB, Add: p.Add})
		} else {
			b.vector(row, p)
		}
		if l := p.Low; l != nil {
			b.vector(row, backend.Product{C: l.U, B: l.A, TB: true})
			b.Scale(l.U, l.Scale)
			b.vector(values(l.U).row(0), backend.Product{C: p.C, B: l.V, Add: true})
		}
	}
}

// rounded returns m as bfloat16 values if products with it round the other
// factor.
func (b *Backend) rounded(m backend.Mat) (linalg.BF16, bool) {
	if b.exact {
		return linalg.BF16{}, false
	}
	return frozenBF16(m)
}

// frozenBF16 returns m as bfloat16 values if it is stored so.
func frozenBF16(m backend.Mat) (linalg.BF16, bool) {
	if m.Empty() {
		return linalg.BF16{}, false
	}
	h := m.Mem.(*mem)
	if h.values != nil || h.dtype != dtype.BF16 {
		return linalg.BF16{}, false
	}
	return linalg.BF16{Data: h.raw[2*m.Off:], Rows: m.Rows, Cols: m.Cols, Stride: m.Stride}, true
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
