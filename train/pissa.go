package train

import (
	"math"

	"github.com/loratool/loratool/internal/linalg"
	"github.com/loratool/loratool/train/internal/model"
)

// Sizes of the search for singular vectors: blocks wider than the rank by
// pissaMore, and as many of them as power steps and one.
const (
	pissaMore   = 16
	pissaBlocks = 3
)

// principal starts an update from the leading singular vectors of W (PiSSA,
// Meng et al. 2024): s·B₀·A₀ = UΣVᵀ of the rank. The base is not changed;
// frozen rows −B₀ and A₀ stand for what PiSSA takes from it, so that
//
//	W + s·[B −B₀]·[A; A₀] = (W − s·B₀·A₀) + s·B·A
//
// and the outcome is an ordinary adapter of twice the rank for the same base.
// Rows beyond the rank of W itself start as without PiSSA, A random and B zero:
// with both zero they would have no gradient.
func principal(m *model.Model, u *model.LoRA, o *Options) error {
	l := u.Linear
	if m.Hollow() {
		return nil
	}
	a, b := make([]float32, u.A.Rows*l.In), make([]float32, l.Out*u.A.Rows)
	w := linalg.InMemory(linalg.Dense(m.Values(l), l.Out, l.In))
	k := linalg.NewKrylov(w, o.Rank+pissaMore, o.Workers, o.Seed, uint64(u.Site))
	for range pissaBlocks {
		if err := k.Grow(); err != nil {
			return err
		}
	}
	left, right := k.Vectors(min(o.Rank, k.Size()))
	s, r := o.scaling(), u.A.Rows
	random := newStream(o.Seed, streamInit, int(u.Site))
	for i := range o.Rank {
		theta := 0.0
		if i < left.Rows {
			theta = squares(right.Data[i*l.In:][:l.In])
		}
		if !(theta > 0) {
			copy(a[i*l.In:], uniform(random, 1, l.In))
			continue
		}
		root := math.Sqrt(math.Sqrt(theta) / s)
		for j, x := range right.Data[i*l.In:][:l.In] {
			v := float32(float64(x) / (root * s))
			a[i*l.In+j], a[(o.Rank+i)*l.In+j] = v, v
		}
		for j, x := range left.Data[i*l.Out:][:l.Out] {
			v := float32(float64(x) * root)
			b[j*r+i], b[j*r+o.Rank+i] = v, -v
		}
	}
	m.SetFactors(u, a, b)
	return nil
}

func squares(x []float32) (sum float64) {
	for _, v := range x {
		sum += float64(float64(v) * float64(v))
	}
	return sum
}
