//go:build cuda

package cuda

import (
	"github.com/loratool/loratool/train/internal/backend"
)

// NormFwd normalises rows.
func (b *Backend) NormFwd(y, stat, x backend.Mat, n backend.Norm) {
	same(y, x)
	to, statistics, from := writable(y), writable(stat), values(x)
	b.do(func() error {
		return b.blocks("b_norm_fwd", x.Rows, to, y.Stride, statistics, stat.Stride, from, x.Stride, at(n.Gamma), code(n.Gamma),
			at(n.Beta), code(n.Beta), x.Rows, x.Cols, n.Eps, n.Layer)
	})
}

// NormBwd is the gradient of NormFwd.
func (b *Backend) NormBwd(dx, dgamma, dbeta, dy, x, stat backend.Mat, n backend.Norm) {
	same(dx, dy, x)
	to, grad, from, statistics := writable(dx), values(dy), values(x), values(stat)
	b.do(func() error {
		return b.blocks("b_norm_bwd", x.Rows, to, dx.Stride, grad, dy.Stride, from, x.Stride, statistics, stat.Stride,
			at(n.Gamma), code(n.Gamma), x.Rows, x.Cols, n.Layer)
	})
	if !dgamma.Empty() {
		b.columns(dgamma, dy, x, stat)
	}
	if !dbeta.Empty() {
		b.BiasGrad(dbeta, dy)
	}
}

// Rope rotates pairs.
func (b *Backend) Rope(x, cos, sin backend.Mat, dim int, positions []int32, inverse bool) {
	checkLen(len(positions), x.Rows)
	to, c, s := writable(x), values(cos), values(sin)
	b.do(func() error {
		list, err := b.upload(positions)
		if err != nil {
			return err
		}
		return b.elements("rope", x.Rows*x.Cols/2, to, x.Stride, c, cos.Stride, s, sin.Stride, dim, list, x.Rows, x.Cols, inverse)
	})
}

// SwiGLUFwd computes h = g·σ(g)·u.
func (b *Backend) SwiGLUFwd(h, g, u backend.Mat) {
	same(h, g, u)
	to, x, y := writable(h), values(g), values(u)
	b.do(func() error {
		return b.elements("swiglu_fwd", g.Rows*g.Cols, to, h.Stride, x, g.Stride, y, u.Stride, g.Rows, g.Cols)
	})
}

// SwiGLUBwd turns g and u into their gradients.
func (b *Backend) SwiGLUBwd(g, u, dh backend.Mat) {
	same(g, u, dh)
	x, y, grad := writable(g), writable(u), values(dh)
	b.do(func() error {
		return b.elements("swiglu_bwd", g.Rows*g.Cols, x, g.Stride, y, u.Stride, grad, dh.Stride, g.Rows, g.Cols)
	})
}

// GELUFwd computes the tanh form of GELU.
func (b *Backend) GELUFwd(y, x backend.Mat) {
	same(y, x)
	to, from := writable(y), values(x)
	b.do(func() error {
		return b.elements("gelu_fwd", x.Rows*x.Cols, to, y.Stride, from, x.Stride, x.Rows, x.Cols)
	})
}

// GELUBwd turns dy into dx.
func (b *Backend) GELUBwd(dy, x backend.Mat) {
	same(dy, x)
	to, from := writable(dy), values(x)
	b.do(func() error {
		return b.elements("gelu_bwd", x.Rows*x.Cols, to, dy.Stride, from, x.Stride, x.Rows, x.Cols)
	})
}

// Dropout masks and scales.
func (b *Backend) Dropout(y, x backend.Mat, p float32, key backend.Key, add bool) {
	same(y, x)
	to, from := writable(y), values(x)
	b.do(func() error {
		return b.elements("dropout", x.Rows*x.Cols, to, y.Stride, from, x.Stride, x.Rows, x.Cols, backend.Threshold(p), 1/(1-p),
			key.Seed, key.Step, key.Site, add)
	})
}
