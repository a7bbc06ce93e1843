package merge

import (
	"math"

	"github.com/loratool/loratool/internal/linalg"
)

// A doubled is a number in twice the precision of float64, as an unevaluated
// sum, with a bound of its error (Ogita, Rump and Oishi 2005).
type doubled struct{ high, low, bound float64 }

// twoSum returns the rounded sum of a and b and what rounding took from it.
func twoSum(a, b float64) (sum, rest float64) {
	sum = a + b
	z := sum - a
	return sum, (a - (sum - z)) + (b - z)
}

// twoProduct returns the rounded product of a and b and what rounding took
// from it.
func twoProduct(a, b float64) (product, rest float64) {
	product = float64(a * b)
	return product, math.FMA(a, b, -product)
}

// dotDoubled returns c·Σ x·y, where the elements of y are stride apart.
func dotDoubled[T linalg.Float](c float64, x []float64, y []T, stride int) doubled {
	n := len(x)
	sum, rest, abs := 0.0, 0.0, 0.0
	for k, v := range x {
		p, e := twoProduct(v, float64(y[k*stride]))
		var r float64
		sum, r = twoSum(sum, p)
		rest += e + r
		abs += math.Abs(p)
	}
	high, low := twoProduct(c, sum)
	low += float64(c * rest)
	// Each of 2n+4 operations on what rounding took errs by 2^-53 of it, and
	// that is at most n·2^-53 of the sum of magnitudes. What underflows is lost.
	bound := float64(math.Abs(c)*abs*float64(n+2)*float64(2*n+4)*0x1p-105) + float64(0x1p-960*(1+math.Abs(c)))
	return doubled{high, low, bound}
}

// add returns the sum of two numbers.
func (d doubled) add(o doubled) doubled {
	s, r := twoSum(d.high, o.high)
	low := r + (d.low + o.low)
	return doubled{s, low, d.bound + o.bound + float64((math.Abs(r)+math.Abs(d.low)+math.Abs(o.low))*0x1p-51)}
}

// compare returns the sign of (v − center) + d + offset, or 0 where the error
// does not let it tell.
func (d doubled) compare(v, center, offset float64) int {
	s, r := twoSum(v, -center)
	t := doubled{s, r, 0}.add(d).add(doubled{offset, 0, 0})
	x := t.high + t.low
	e := t.bound + float64(math.Abs(x)*0x1p-51)
	switch {
	case x > e:
		return 1
	case x < -e:
		return -1
	}
	return 0
}
