package cpu

import (
	"math"

	"github.com/loratool/loratool/train/internal/backend"
)

// sums4 is the number of chains in which a row is summed.
const sums4 = 4

// sum returns Σx in float64.
func sum(x []float32) float64 {
	var s [sums4]float64
	for i, v := range x {
		s[i%sums4] += float64(v)
	}
	return (s[0] + s[2]) + (s[1] + s[3])
}

// sumSquares returns Σx² in float64.
func sumSquares(x []float32) float64 { return best().dotWide(x, x) }

// NormFwd normalises rows.
func (b *Backend) NormFwd(y, stat, x backend.Mat, n backend.Norm) {
	same(y, x)
	ym, sm, xm := writable(y), writable(stat), values(x)
	gamma, beta := vector(n.Gamma), vector(n.Beta)
	b.split(x.Rows, x.Cols, func(from, to int) {
		for i := from; i < to; i++ {
			mean, rstd := statistics(xm.row(i), n)
			copy(sm.row(i), []float32{mean, rstd})
			normalise(ym.row(i), xm.row(i), gamma, beta, mean, rstd)
		}
	})
}

func statistics(x []float32, n backend.Norm) (mean, rstd float32) {
	size := float64(len(x))
	if !n.Layer {
		return 0, float32(1 / math.Sqrt(sumSquares(x)/size+float64(n.Eps)))
	}
	m := sum(x) / size
	var variance float64
	for _, v := range x {
		d := float64(v) - m
		variance += float64(d * d)
	}
	return float32(m), float32(1 / math.Sqrt(variance/size+float64(n.Eps)))
}

func normalise(y, x, gamma, beta []float32, mean, rstd float32) {
	k := best()
	k.normalise(y, x, gamma, mean, rstd)
	if beta != nil {
		k.addScaled(y, beta, 1)
	}
}

// NormBwd is the gradient of NormFwd: with x̂ = (x−mean)·rstd and g = dy⊙gamma,
//
//	dx += rstd·(g − mean(g) − x̂·mean(g⊙x̂)),  without mean(g) for RMS
func (b *Backend) NormBwd(dx, dgamma, dbeta, dy, x, stat backend.Mat, n backend.Norm) {
	same(dx, dy, x)
	dxm, dym, xm, sm := writable(dx), values(dy), values(x), values(stat)
	gamma := vector(n.Gamma)
	b.split(x.Rows, 2*x.Cols, func(from, to int) {
		for i := from; i < to; i++ {
			s := sm.row(i)
			normRowBwd(dxm.row(i), dym.row(i), xm.row(i), gamma, s[0], s[1], n.Layer)
		}
	})
	if !dgamma.Empty() {
		b.columns(writable(dgamma).row(0), x.Rows, func(acc []float64, i, from int) {
			mean, rstd, xs := sm.row(i)[0], sm.row(i)[1], xm.row(i)[from:]
			for j, d := range dym.row(i)[from:][:len(acc)] {
				acc[j] += float64(float64(d) * float64((xs[j]-mean)*rstd))
			}
		})
	}
	if !dbeta.Empty() {
		b.BiasGrad(dbeta, dy)
	}
}

func normRowBwd(dx, dy, x, gamma []float32, mean, rstd float32, layer bool) {
	k, size := best(), float64(len(x))
	mg, mgx := float32(0), float32(k.normSum(dy, x, gamma, mean, rstd)/size)
	if layer {
		var sum [2]float64
		for j, v := range dy {
			sum[j&1] += float64(float64(v) * float64(gamma[j]))
		}
		mg = float32((sum[0] + sum[1]) / size)
	}
	k.normGrad(dx, dy, x, gamma, mean, rstd, mg, mgx)
}

// columns adds to sum the sum over rows, in float64 and in order: f adds what
// row i has for the columns from from on. Goroutines take columns.
func (b *Backend) columns(sum []float32, rows int, f func(acc []float64, i, from int)) {
	b.split(len(sum), rows, func(from, to int) {
		acc := make([]float64, to-from)
		for i := range rows {
			f(acc, i, from)
		}
		for j, s := range acc {
			sum[from+j] += float32(s)
		}
	})
}
