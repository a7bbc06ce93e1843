package cpu

import (
	"math"

	"github.com/loratool/loratool/internal/linalg"
	"github.com/loratool/loratool/train/internal/backend"
)

// CrossEntropy computes losses and gradients of rows of logits in place.
func (b *Backend) CrossEntropy(loss, logits backend.Mat, targets []int32, scale, smoothing float32, grad bool) {
	checkLen(len(targets), logits.Rows)
	lm, xm := writable(loss), writable(logits)
	b.split(logits.Rows, logits.Cols, func(from, to int) {
		for i := from; i < to; i++ {
			row, target := xm.row(i), int(targets[i])
			if target < 0 {
				lm.row(i)[0] = 0
				if grad {
					clear(row)
				}
				continue
			}
			lm.row(i)[0] = crossEntropyRow(row, target, scale, smoothing, grad)
		}
	})
}

// crossEntropyRow returns the loss of one row and overwrites it: with p =
// softmax(x) and q = (1−e)·onehot + e/n, dx = scale·(p − q).
func crossEntropyRow(x []float32, target int, scale, smoothing float32, grad bool) float32 {
	k := best()
	top := k.most(x)
	hit, n := float64(x[target]), float64(len(x))
	mean := 0.0
	if smoothing != 0 {
		mean = sum(x) / n
	}
	all := linalg.ExpSum(x, x, 1, top)
	logSum := float64(top) + math.Log(float64(all))
	e := float64(smoothing)
	loss := logSum - float64((1-e)*hit) - float64(e*mean)
	if grad {
		k.scale(x, scale/all)
		if smoothing != 0 {
			each := float32(float64(scale) * e / n)
			for j := range x {
				x[j] -= each
			}
		}
		x[target] -= float32(scale * (1 - smoothing))
	}
	return float32(loss)
}

// SumSq sums squares row by row.
func (b *Backend) SumSq(x backend.Mat) (total float64) {
	xm := values(x)
	sums := make([]float64, x.Rows)
	b.split(x.Rows, x.Cols, func(from, to int) {
		for i := from; i < to; i++ {
			sums[i] = sumSquares(xm.row(i))
		}
	})
	for _, s := range sums {
		total += s
	}
	return total
}

// AdamW updates parameters; see backend.Adam for the arithmetic.
func (b *Backend) AdamW(p, g, m, v backend.Mat, a backend.Adam) {
	same(p, g, m, v)
	pm, gm, mm, vm := writable(p), values(g), writable(m), writable(v)
	c := adamNumbers{
		keep: float32(1 - float64(a.LR*a.Decay)), grad: float32(a.GradScale), beta1: float32(1 - a.Beta1), beta2: float32(a.Beta2),
		rest2: float32(1 - a.Beta2), root: float32(math.Sqrt(a.C2)), eps: float32(a.Eps), step: float32(a.LR / a.C1),
	}
	k := best()
	b.split(p.Rows, 4*p.Cols, func(from, to int) {
		for i := from; i < to; i++ {
			c.row(k, pm.row(i), gm.row(i), mm.row(i), vm.row(i))
		}
	})
}

// adamNumbers are read in this order by the assembly.
type adamNumbers struct{ keep, grad, beta1, beta2, rest2, root, eps, step float32 }

func (c *adamNumbers) row(i isa, p, g, m, v []float32) {
	n := i.whole(len(p))
	if n > 0 {
		adamPart(i, p[:n], g[:n], m[:n], v[:n], c)
	}
	for j := n; j < len(p); j++ {
		x := float32(g[j] * c.grad)
		m[j] += float32((x - m[j]) * c.beta1)
		v[j] = float32(v[j]*c.beta2) + float32(float32(c.rest2*x)*x)
		denom := float32(sqrt(v[j])/c.root) + c.eps
		p[j] = float32(p[j]*c.keep) - float32(c.step*(m[j]/denom))
	}
}

// sqrt is exact: a float32 root rounded from the float64 one is the correctly
// rounded one (Figueroa 1995).
func sqrt(x float32) float32 { return float32(math.Sqrt(float64(x))) }
