package lowrank

import (
	"math"

	"github.com/loratool/loratool/internal/linalg"
)

// A Noise is the standard deviation of the rounding errors in the factors of a
// term: one for each column of B and for each row of A.
type Noise struct{ B, A []float64 }

// RoundingNoise returns the noise of a term whose factors were rounded to a
// float dtype of so many mantissa bits, whose smallest normal value is
// 2^least: a rounding error is uniform within half a unit in the last place.
func RoundingNoise(t Term, mantissa, least int) Noise {
	return Noise{B: columnNoise(t.B, mantissa, least), A: columnNoise(t.A.T(), mantissa, least)}
}

// columnNoise returns √(mean ulp²/12) of each column.
func columnNoise(m Mat, mantissa, least int) []float64 {
	noise := make([]float64, m.Cols)
	for j := range noise {
		sum := 0.0
		for i := range m.Rows {
			x := m.Data[i*m.RowStride+j*m.ColStride]
			if x == 0 {
				continue
			}
			_, e := math.Frexp(x)
			ulp := math.Ldexp(1, max(e-1, least)-mantissa)
			sum += float64(ulp * ulp)
		}
		noise[j] = math.Sqrt(sum / float64(12*max(1, m.Rows)))
	}
	return noise
}

// Floor returns the largest singular value that rounding errors of the factors
// make by themselves: of G·diag(noise)·A for the errors of B, with G of
// independent numbers of variance one, and alike for those of A. For such a
// product
//
//	E ‖G·M‖ ≤ √out·‖M‖ + ‖M‖_F    (Chevet's inequality, Gordon 1985).
func (d *Delta) Floor(noise []Noise) float64 {
	var nb, na []float64
	for i, n := range noise {
		w := math.Abs(d.terms[i].Weight)
		for j := range n.B {
			nb, na = append(nb, w*n.B[j]), append(na, n.A[j])
		}
	}
	fromB := chevet(d.right.R(), nb, d.Out)
	fromA := chevet(d.left.R(), na, d.In)
	return math.Sqrt(float64(fromB*fromB) + float64(fromA*fromA))
}

// chevet returns the bound for M = diag(noise)·Rᵀ and G of n rows.
func chevet(r Mat, noise []float64, n int) float64 {
	m := linalg.Dense(make([]float64, r.Rows*r.Cols), r.Rows, r.Cols)
	copyInto(m, r, 1)
	for i := range m.Rows {
		for j := range noise {
			m.Data[i*m.Cols+j] *= noise[j]
		}
	}
	_, s, _ := linalg.SVD(m)
	if len(s) == 0 {
		return 0
	}
	return float64(math.Sqrt(float64(n))*s[0]) + norm(s)
}
