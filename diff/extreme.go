package diff

import (
	"math"

	"github.com/loratool/loratool/internal/mmap"
)

// Deltas that are so small or so large that squares do not fit float32 are
// worked on times a power of two, 2^-exponent, which changes no digit. What is
// measured of them is measured in float64.

// ordinary is how far from 1 the mean square of values may be, as an exponent
// of two: 2^±40 for the values themselves, so that float32 holds the squares of
// all that matter.
const ordinary = 80

// extreme reports whether sums in float32 may have lost something.
func (d *delta) extreme(s stats) bool {
	n := float64(d.rows * d.cols)
	for _, mean := range []float64{s.base2 / n, s.delta2 / n} {
		if !(mean >= math.Ldexp(1, -ordinary) && mean <= math.Ldexp(1, ordinary)) { // NaN too
			return true
		}
	}
	return false
}

// loadWide is load in float64. It sets the exponent of the delta.
func (d *delta) loadWide(x []float32) (s stats, err error) {
	tuned, base := make([]float64, d.cols), make([]float64, d.cols)
	columns, rowMost, most := make([]float64, d.cols), 0.0, 0.0
	n := newNoise(d.tuned.grid(d.rows * d.cols))
	err = mmap.Guard(func() {
		for i := range d.rows {
			d.decode(tuned, base, i*d.cols)
			row := 0.0
			for j, t := range tuned {
				b, v := base[j], t-base[j]
				s.base2, s.delta2 = s.base2+float64(b*b), s.delta2+float64(v*v)
				if v != 0 {
					s.changed++
				}
				most = max(most, math.Abs(v))
				q := n.variance(t)
				row, columns[j] = row+q, columns[j]+q
			}
			s.noise2, rowMost = s.noise2+row, max(rowMost, row)
		}
	})
	if err != nil {
		return s, err
	}
	if sum := s.base2 + s.delta2; math.IsNaN(sum) || math.IsInf(sum, 0) {
		return s, errNotFinite
	}
	s.edge = resolved(noiseEdge(rowMost, largestOf(columns), d.rows, d.cols), s.delta2)
	if most > 0 {
		d.exponent = math.Ilogb(most) / 2 * 2
	}
	if x == nil {
		return s, nil
	}
	return s, mmap.Guard(func() {
		for i := range d.rows {
			d.row(x[i*d.cols:(i+1)*d.cols], make([]float32, d.cols), i*d.cols)
		}
	})
}

// variance is that of the rounding of one value.
func (n noise) variance(v float64) float64 {
	p := math.Ldexp(1, n.minExponent)
	if v != 0 {
		p = math.Ldexp(1, max(math.Ilogb(v), n.minExponent))
	}
	return n.unit * p * p
}

// scaled are the stats of the delta as the source of it gives it.
func (d *delta) scaled(s stats) stats {
	s.delta2, s.noise2, s.edge = math.Ldexp(s.delta2, -2*d.exponent), math.Ldexp(s.noise2, -2*d.exponent), math.Ldexp(s.edge, -d.exponent)
	return s
}
