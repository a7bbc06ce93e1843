package merge

import (
	"math"
	"math/big"
	"sync/atomic"

	"github.com/loratool/loratool/format/dtype"
)

// exact recomputes single elements, for which floating-point arithmetic cannot
// tell the rounding, in arithmetic that does not round.
type exact struct {
	sum, product, x, y big.Float
	pair               [2]float64
	low, high          [8]byte
	stop               *atomic.Bool // the computer's
}

// exactBits is the precision of a big.Float that holds every sum the engine can
// meet: factors and coefficient in float64 span exponents from −3·1074 to 3·1024, and the
// products have 159 significant bits.
const exactBits = 3*(1074+1024) + 256

// round writes the correctly rounded w + Σ coefficient·left·right of element
// (row, col) of a plane to dst, in arithmetic that does not round.
func (e *exact) round(dst []byte, ch *change, plane, row, col int, w float64) {
	e.pair[0] = w
	if finite(w) {
		e.pair[0] = toOdd(e.total(ch, plane, row, col, w), ch.out.DType == dtype.F64)
	}
	ch.out.DType.Encode64(dst, e.pair[:1])
}

// total returns w + Σ c·l·r without rounding.
func (e *exact) total(ch *change, plane, row, col int, w float64) *big.Float {
	e.sum.SetPrec(exactBits).SetFloat64(w)
	e.product.SetPrec(exactBits)
	for i := range ch.terms[plane] {
		tm := &ch.terms[plane][i]
		r, c := index(tm.rowSpan, row), index(tm.colSpan, col)
		if r < 0 || c < 0 {
			continue
		}
		for k := range tm.rank {
			e.product.SetFloat64(tm.coefficient)
			e.product.Mul(&e.product, e.x.SetFloat64(tm.left.at(r, k)))
			e.product.Mul(&e.product, e.y.SetFloat64(tm.right.at(k, c)))
			e.sum.Add(&e.sum, &e.product)
		}
	}
	return &e.sum
}

// toOdd rounds x to float64 so that rounding the result again to any shorter
// dtype gives the correctly rounded x: to the neighbour with an odd last bit
// unless x is exact (Boldo and Melquiond 2008). With nearest it rounds to
// nearest even, for a float64 output.
func toOdd(x *big.Float, nearest bool) float64 {
	f, accuracy := x.Float64()
	if nearest || accuracy == big.Exact || math.Float64bits(f)&1 == 1 || math.IsInf(f, 0) {
		return f
	}
	toward := math.Inf(1)
	if accuracy == big.Above {
		toward = math.Inf(-1)
	}
	return math.Nextafter(f, toward)
}
