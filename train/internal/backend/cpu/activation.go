package cpu

import (
	"github.com/loratool/loratool/internal/linalg"
	"github.com/loratool/loratool/train/internal/backend"
)

// rows3 calls f for every row of three matrices of one shape.
func (b *Backend) rows3(x, y, z backend.Mat, f func(x, y, z []float32)) {
	same(x, y, z)
	xm, ym, zm := values(x), values(y), values(z)
	b.split(x.Rows, x.Cols, func(from, to int) {
		for i := from; i < to; i++ {
			f(xm.row(i), ym.row(i), zm.row(i))
		}
	})
}

// SwiGLUFwd computes h = g·σ(g)·u.
func (b *Backend) SwiGLUFwd(h, g, u backend.Mat) {
	writable(h)
	k := best()
	b.rows3(h, g, u, func(h, g, u []float32) {
		linalg.ExpSum(h, g, -1, 0)
		k.gate(h, g, u)
	})
}

// SwiGLUBwd: with a = σ(g), du = dh·g·a and dg = dh·u·a·(1+g·(1−a)).
func (b *Backend) SwiGLUBwd(g, u, dh backend.Mat) {
	writable(g)
	writable(u)
	k := best()
	b.rows3(g, u, dh, func(g, u, dh []float32) {
		buf := b.buffer(len(g))
		defer b.release(buf)
		linalg.ExpSum(*buf, g, -1, 0)
		k.gateGrad(g, u, dh, *buf)
	})
}

// The constants of GELU's approximation by tanh (Hendrycks and Gimpel 2016).
const (
	geluRoot  = 0.7978845608028654 // √(2/π)
	geluCubic = 0.044715
)

// GELUFwd computes the tanh form of GELU.
func (b *Backend) GELUFwd(y, x backend.Mat) {
	writable(y)
	b.rows3(y, x, x, func(y, x, _ []float32) {
		buf := b.buffer(len(x))
		defer b.release(buf)
		geluTanh(*buf, x)
		for j, v := range x {
			y[j] = float32(v/2) * (1 + (*buf)[j])
		}
	})
}

// geluTanh computes t = tanh(√(2/π)·(x + 0.044715x³)).
func geluTanh(t, x []float32) {
	for j, v := range x {
		t[j] = geluRoot * (v + float32(geluCubic*float32(float32(v*v)*v)))
	}
	tanh(t)
}

// GELUBwd: dy ← dy·( (1+t)/2 + x/2·(1−t²)·√(2/π)(1+3·0.044715x²) ).
func (b *Backend) GELUBwd(dy, x backend.Mat) {
	writable(dy)
	b.rows3(dy, x, x, func(dy, x, _ []float32) {
		buf := b.buffer(len(x))
		defer b.release(buf)
		geluTanh(*buf, x)
		for j, v := range x {
			t := (*buf)[j]
			inner := geluRoot * (1 + float32(3*geluCubic*float32(v*v)))
			slope := float32((1+t)/2) + float32(float32(v/2)*float32(float32((1-t)*(1+t))*inner))
			dy[j] *= slope
		}
	})
}

// Rope rotates pairs.
func (b *Backend) Rope(x, cos, sin backend.Mat, dim int, positions []int32, inverse bool) {
	checkLen(len(positions), x.Rows)
	xm, cm, sm := writable(x), values(cos), values(sin)
	k, sign := best(), float32(1)
	if inverse {
		sign = -1
	}
	b.split(x.Rows, x.Cols, func(from, to int) {
		for i := from; i < to; i++ {
			row, c, s := xm.row(i), cm.row(int(positions[i])), sm.row(int(positions[i]))
			for h := 0; h < len(row); h += dim {
				k.rotate(row[h:h+dim/2], row[h+dim/2:h+dim], c, s, sign)
			}
		}
	})
}

// Dropout masks and scales.
func (b *Backend) Dropout(y, x backend.Mat, p float32, key backend.Key, add bool) {
	same(y, x)
	ym, xm := writable(y), values(x)
	limit, scale := backend.Threshold(p), 1/(1-p)
	b.split(x.Rows, 4*x.Cols, func(from, to int) {
		for i := from; i < to; i++ {
			dropRow(ym.row(i), xm.row(i), uint64(i)*uint64(x.Cols), limit, scale, key, add)
		}
	})
}

// dropRow masks a row whose first element has the given index.
func dropRow(y, x []float32, index uint64, limit uint32, scale float32, key backend.Key, add bool) {
	words := key.Mask(index / 4)
	for j, v := range x {
		e := index + uint64(j)
		if e%4 == 0 {
			words = key.Mask(e / 4)
		}
		v *= scale
		if words[e%4] < limit {
			v = 0
		}
		if add {
			y[j] += v
		} else {
			y[j] = v
		}
	}
}
