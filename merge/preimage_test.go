package merge

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/loratool/loratool/format/dtype"
)

// bruteForce returns the ordinals of the finite values v of a dtype for which
// gain·(1±radius)·(v + delta) meets the cell, by trying all of them without
// rounding.
func bruteForce(d dtype.DType, c cell, delta, gain, radius float64) (first, last int64, ok bool) {
	number := func(x float64) *big.Float { return new(big.Float).SetPrec(600).SetFloat64(x) }
	low, high := number(c.center), number(c.center)
	low.Sub(low, number(c.below))
	high.Add(high, number(c.above))
	rho := number(0).Mul(number(gain), number(radius))
	least, greatest := number(0).Sub(number(gain), rho), number(0).Add(number(gain), rho)
	x, a, b := number(0), number(0), number(0)
	most := int64(d.MaxMagnitude())
	for n := -most - 1; n <= most; n++ {
		v := 0.0
		if n != -1 {
			v = d.Value(d.FromOrdinal(n))
		}
		x.Add(number(v), number(delta))
		a.Mul(least, x)
		b.Mul(greatest, x)
		if a.Cmp(b) > 0 {
			a, b = b, a
		}
		if b.Cmp(low) < 0 || a.Cmp(high) > 0 {
			continue
		}
		if !ok {
			first, ok = n, true
		}
		last = n
	}
	return first, last, ok
}

// TestPreimagesOfSmallDTypes compares the prober with the definition for
// merged values of FP8, for deltas that are tiny, ties, or of the
// size of the values, with and without gain.
func TestPreimagesOfSmallDTypes(t *testing.T) {
	r := rand.New(rand.NewPCG(31, 31))
	for _, d := range []dtype.DType{dtype.F8_E4M3, dtype.F8_E5M2, dtype.F8_E4M3FNUZ} {
		for _, delta := range []float64{0, 0x1p-40, d.Value(1) / 2, -d.Value(9) / 2, 0.3, -7.25, r.NormFloat64() * 30} {
			for _, gain := range []float64{1, 0.75, 1 + 0x1p-30, -1.3} {
				t.Run(fmt.Sprintf("%v/%g/%g", d, delta, gain), func(t *testing.T) {
					for m := uint64(0); m <= d.MaxMagnitude(); m += 1 + r.Uint64N(5) {
						for _, bits := range []uint64{m, m | d.SignBit()} {
							if !isFinite(d, bits) {
								continue
							}
							checkPreimages(t, d, nearestCell(d, bits), delta, gain)
							checkPreimages(t, d, randomCell(d, bits, r.Float64()*(1-0x1p-20)), delta, gain)
						}
					}
				})
			}
		}
	}
}

func checkPreimages(t *testing.T, d dtype.DType, c cell, delta, gain float64) {
	t.Helper()
	radius := 0.0
	if gain != 1 {
		radius = 0x1p-48
	}
	p := &prober{refine: func(p *prober) {
		p.refined = doubled{delta, 0, 0}
		p.exact.SetPrec(exactBits).SetFloat64(delta)
	}}
	p.begin(d, d)
	p.start(c, gain, radius, delta, math.Abs(delta)*0x1p-24)
	near := p.guess()
	first, last := p.interval(near)
	wantFirst, wantLast, ok := bruteForce(d, c, delta, gain, radius)
	if !ok {
		if last >= first {
			t.Fatalf("%+v: preimages %d to %d, want none", c, first, last)
		}
		return
	}
	if first != wantFirst || last != wantLast {
		t.Fatalf("%+v: preimages %d to %d, want %d to %d", c, first, last, wantFirst, wantLast)
	}
	for _, near := range []int64{-p.highest - 1, p.highest, 0} { // from wherever it begins
		p.start(c, gain, radius, delta, math.Inf(1))
		if f, l := p.interval(near); f != first || l != last {
			t.Fatalf("%+v: from %d preimages %d to %d, want %d to %d", c, near, f, l, first, last)
		}
	}
}
