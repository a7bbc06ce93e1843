//go:build cuda

package cuda

import (
	"gorgonia.org/cu"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/train/internal/backend"
)

// A factor is a matrix in a dtype that cuBLAS multiplies.
type factor struct {
	at     cu.DevicePtr
	stride int
	bf16   bool
}

// Gemm computes products of one left factor.
func (b *Backend) Gemm(a backend.Mat, ta bool, products ...backend.Product) {
	for _, p := range products {
		writable(p.C)
		if p.C.Empty() {
			continue
		}
		b.do(func() error { return b.product(a, ta, p) })
		if l := p.Low; l != nil {
			b.do(func() error { return b.product(a, ta, backend.Product{C: l.U, B: l.A, TB: true}) })
			b.Scale(l.U, l.Scale)
			b.do(func() error { return b.product(l.U, false, backend.Product{C: p.C, B: l.V, Add: true}) })
		}
	}
}

func (b *Backend) product(a backend.Mat, ta bool, p backend.Product) error {
	m, k := a.Rows, a.Cols
	if ta {
		m, k = k, m
	}
	rows, n := p.B.Rows, p.B.Cols
	if p.TB {
		rows, n = n, rows
	}
	checkLen(rows, k)
	checkLen(p.C.Rows, m)
	checkLen(p.C.Cols, n)
	switch {
	case k == 0 && p.Add:
		return nil
	case k == 0:
		return b.elements("fill", m*n, at(p.C), m, n, p.C.Stride, float32(0))
	case b.blas == nil:
		const tileRows, tileCols = 8, 16 // GM and GN in kernels.cu
		tiles := (m + tileRows - 1) / tileRows * ((n + tileCols - 1) / tileCols)
		return b.blocks("b_gemm", tiles, at(p.C), p.C.Stride, at(a), a.Stride, code(a), ta, at(p.B), p.B.Stride, code(p.B), p.TB, m, n, k, p.Add)
	}
	left, right, err := b.factors(a, p.B)
	if err != nil {
		return err
	}
	return b.blas.gemm(gemm{ta: ta, tb: p.TB, m: m, n: n, k: k, a: left, b: right, c: at(p.C), ldc: p.C.Stride, add: p.Add})
}

// factors prepares the factors of a product: both float32, or with tensor
// cores both BF16 where the right one is a weight in BF16.
func (b *Backend) factors(a, w backend.Mat) (left, right factor, err error) {
	if b.o.TensorCores && w.Mem.(*mem).dtype == dtype.BF16 {
		right = factor{at(w), w.Stride, true}
		if a.Mem.(*mem).dtype == dtype.BF16 {
			return factor{at(a), a.Stride, true}, right, nil
		}
		to, err := b.narrow.grow(2 * a.Rows * a.Cols)
		if err != nil {
			return left, right, err
		}
		return factor{to, a.Cols, true}, right, b.elements("to_bf16", a.Rows*a.Cols, to, values(a), a.Stride, a.Rows, a.Cols)
	}
	if left, err = b.widened(a, &b.narrow); err != nil {
		return left, right, err
	}
	right, err = b.widened(w, &b.wide)
	return left, right, err
}

// widened returns m as float32, decoded into a buffer if it must be.
func (b *Backend) widened(m backend.Mat, room *buffer) (factor, error) {
	if code(m) == 0 {
		return factor{at(m), m.Stride, false}, nil
	}
	to, err := room.grow(4 * m.Rows * m.Cols)
	if err != nil {
		return factor{}, err
	}
	return factor{to, m.Cols, false}, b.elements("copy", m.Rows*m.Cols, to, m.Cols, at(m), m.Stride, code(m), m.Rows, m.Cols)
}
