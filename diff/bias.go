package diff

import (
	"math"

	"github.com/loratool/loratool/internal/linalg"
	"github.com/loratool/loratool/internal/mmap"
)

// Rounding to nearest is no noise where a change is small beside an ulp: it
// swallows it. What it does to w + Δ is then a function of Δ, and if Δ is of
// very low rank, elements of all sizes side by side, that function has singular
// values of its own that stand above the noise. They tell themselves: rounding
// w + Δ again, with the Δ that was found, makes the same ones.

// widestGap is the least quotient of neighbouring singular values between Δ and
// what rounding made of it.
const widestGap = 2

// swallowed returns the rank of the part of a delta, given by rank triplets,
// that explains the others by rounding; rank itself if none does.
func (t truncator) swallowed(k *linalg.Krylov, rank int) (int, error) {
	n, widest := 0, float64(widestGap*widestGap)
	for i := 1; i < rank; i++ {
		if q := k.Squares()[i-1] / k.Squares()[i]; q > widest {
			n, widest = i, q
		}
	}
	if n == 0 {
		return rank, nil
	}
	left, right := k.Factors(rank)
	made, err := t.delta.rounded(t.workers, left, right, n)
	if err != nil {
		return rank, err
	}
	for i, x := range made {
		// Both rows have the length √θ. Of a part of Δ that was not rounded along,
		// noise alone would show: θ/√(rows + cols).
		if theta := k.Squares()[n+i]; !(x >= theta/3) {
			return rank, nil
		}
	}
	return n, nil
}

// rounded returns uᵢ·E·vᵢ for the rows from n on of left and right, and E the
// rounding to nearest of the base plus the part that the first n rows are.
func (d *delta) rounded(workers int, left, right linalg.Mat[float32], n int) ([]float64, error) {
	count := left.Rows - n
	image := linalg.Dense(make([]float32, count*d.rows), count, d.rows)
	grid := d.tuned.grid(d.rows * d.cols)
	err := linalg.Split(workers, d.rows, residualRows, func(_ *[]float32, first, rows int) error {
		e := linalg.Dense(make([]float32, rows*d.cols), rows, d.cols)
		linalg.Gemm(e, left.View(0, first, n, rows).T(), right.View(0, 0, n, d.cols), false)
		tuned, base := make([]float64, d.cols), make([]float64, d.cols)
		err := mmap.Guard(func() {
			for i := range rows {
				d.decode(tuned, base, (first+i)*d.cols)
				for j, low := range e.Data[i*d.cols : (i+1)*d.cols] {
					t := base[j] + math.Ldexp(float64(low), d.exponent)
					ulp := ulpOf(grid, t)
					e.Data[i*d.cols+j] = float32(math.Ldexp(float64(math.RoundToEven(t/ulp)*ulp)-t, -d.exponent))
				}
			}
		})
		linalg.Gemm(image.View(0, first, count, rows), right.View(n, 0, count, d.cols), e.T(), false)
		return err
	})
	made := make([]float64, count)
	for i := range made {
		for j := range d.rows {
			made[i] += float64(float64(left.Data[(n+i)*left.RowStride+j]) * float64(image.Data[i*d.rows+j]))
		}
	}
	return made, err
}
