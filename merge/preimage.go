package merge

import (
	"math"
	"math/big"

	"github.com/loratool/loratool/format/dtype"
)

// A prober finds the values of the base that become one merged element. For
// an element with the cell C and the delta Δ they are the finite values v with
//
//	v + Δ ∈ C,   for a row scaled by g:  g'·(v + Δ) ∈ C for a g' in g·[1−ρ, 1+ρ]
//
// in exact arithmetic. Rounding is monotone, so they are neighbours, and their
// ordinals an interval.
//
// Each comparison is tried in float64 with a bound of its error, then in twice
// that precision, and then without rounding. So the result does not depend on
// the arithmetic: any other program finds the same interval.
type prober struct {
	in      dtype.DType
	grid    dtype.Grid       // of in, but for F64
	halves  *dtype.Preimager // for in, if it has 16 bits
	out     dtype.Grid       // of the merged dtype, but for F64
	highest int64            // ordinal of the largest finite value
	cell    cell
	gain    float64 // positive; 1 without scaling
	radius  float64 // ρ; 0 without scaling

	d, e    float64 // Δ and the bound of its error
	level   int     // how often Δ was refined
	refined doubled // Δ in twice the precision, from level 1
	exact   big.Float
	refine  func(p *prober) // computes refined at level 1 and exact at level 2
}

// begin prepares for the elements of a change.
func (p *prober) begin(in, out dtype.DType) {
	p.in, p.highest = in, int64(in.MaxMagnitude())
	if in != dtype.F64 {
		p.grid = in.Grid()
	}
	if in.Bits() == 16 {
		p.halves = in.Preimager()
	}
	if out != dtype.F64 {
		p.out = out.Grid()
	}
}

// start begins with an element.
func (p *prober) start(c cell, gain, radius, d, e float64) {
	if gain < 0 {
		c, gain = c.negative(), -gain
	}
	p.cell, p.gain, p.radius, p.d, p.e, p.level = c, gain, radius, d, e, 0
}

// value returns the value of an ordinal.
func (p *prober) value(n int64) float64 {
	if n == -1 {
		return math.Copysign(0, -1) // also where its bits are a NaN
	}
	return p.in.Value(p.in.FromOrdinal(n))
}

// side says where the ordinal's value ends up: −1 below the cell, 0 in it, 1
// above it.
func (p *prober) side(n int64) int {
	v := p.value(n)
	var low, high, err float64 // distances from the ends of the cell
	if p.radius == 0 && p.gain == 1 {
		offset := v - p.cell.center
		y := offset + p.d
		err = p.e + float64((math.Abs(offset)+math.Abs(y)+p.cell.spacing)*0x1p-50)
		low, high = y+p.cell.below, y-p.cell.above
	} else {
		x := v + p.d
		y := float64(p.gain * x)
		err = float64(p.gain*(p.e+float64(math.Abs(x)*0x1p-51))*1.001) + float64(math.Abs(y)*(float64(p.radius*1.001)+0x1p-50)) +
			float64((math.Abs(p.cell.center)+p.cell.spacing)*0x1p-50) + 0x1p-1060
		low, high = y-(p.cell.center-p.cell.below), y-(p.cell.center+p.cell.above)
	}
	switch {
	case low < -err:
		return -1
	case high > err:
		return 1
	case low > err && high < -err:
		return 0
	}
	return p.sideRefined(v)
}

// sideRefined decides what float64 cannot.
func (p *prober) sideRefined(v float64) int {
	if p.level == 0 {
		p.level = 1
		p.refine(p)
	}
	if p.radius == 0 && p.gain == 1 {
		low, high := p.refined.compare(v, p.cell.center, p.cell.below), p.refined.compare(v, p.cell.center, -p.cell.above)
		switch {
		case low == -1:
			return -1
		case high == 1:
			return 1
		case low == 1 && high == -1:
			return 0
		}
	}
	if p.level == 1 {
		p.level = 2
		p.refine(p)
	}
	return p.sideExact(v)
}

// sideExact decides without rounding.
func (p *prober) sideExact(v float64) int {
	const bits = exactBits + 256
	number := func(x float64) *big.Float { return new(big.Float).SetPrec(bits).SetFloat64(x) }
	x := new(big.Float).SetPrec(bits).Add(&p.exact, number(v))
	least, most := x, x
	if p.radius != 0 || p.gain != 1 {
		g := number(p.gain)
		rho := number(p.radius)
		rho.Mul(rho, g)
		least = new(big.Float).SetPrec(bits).Sub(g, rho)
		most = new(big.Float).SetPrec(bits).Add(g, rho)
		if x.Sign() < 0 {
			least, most = most, least
		}
		least.Mul(least, x)
		most.Mul(most, x)
	}
	low := number(p.cell.center)
	low.Sub(low, number(p.cell.below))
	if most.Cmp(low) < 0 {
		return -1
	}
	if math.IsInf(p.cell.above, 1) {
		return 0
	}
	high := number(p.cell.center)
	high.Add(high, number(p.cell.above))
	if least.Cmp(high) > 0 {
		return 1
	}
	return 0
}

// guess returns an ordinal near the preimages.
func (p *prober) guess() int64 {
	x := p.cell.middle()/p.gain - p.d
	if math.IsNaN(x) {
		return 0
	}
	low, high, lowBits, highBits := p.in.Neighbours(x)
	if x-low > high-x {
		lowBits = highBits
	}
	return max(-p.highest-1, min(p.in.Ordinal(lowBits), p.highest))
}

// interval returns the first and the last ordinal of the preimages; near is
// where to begin. There are none if last is below first.
func (p *prober) interval(near int64) (first, last int64) {
	if p.gain == 0 {
		return -p.highest - 1, p.highest
	}
	if first, last, ok := p.quick(); ok {
		return first, last
	}
	switch p.side(near) {
	case -1:
		first = p.edge(near, 1, p.notBelow)
		if p.above(first) {
			return first, first - 1
		}
		return first, p.edge(first, 1, p.above) - 1
	case 1:
		last = p.edge(near, -1, p.notAbove)
		if p.below(last) {
			return last + 1, last
		}
		return p.edge(last, -1, p.below) + 1, last
	}
	return p.edge(near, -1, p.below) + 1, p.edge(near, 1, p.above) - 1
}

// quick rounds the ends of the cell less the delta to the grid, and reports
// whether the error of the delta cannot change the result.
func (p *prober) quick() (first, last int64, ok bool) {
	if p.gain != 1 || p.radius != 0 || p.in == dtype.F64 {
		return 0, 0, false
	}
	low, high := p.cell.ends()
	e := p.e + float64((math.Abs(p.cell.center)+p.cell.spacing+math.Abs(p.d))*0x1p-50)
	if !finite(p.d) || !finite(e) {
		return 0, 0, false
	}
	low, high = low-p.d, high-p.d
	first, last = p.grid.Ceil(low-e), p.grid.Floor(high+e)
	return first, last, first == p.grid.Ceil(low+e) && last == p.grid.Floor(high-e)
}

// What is beyond the finite values is below or above all cells.
func (p *prober) below(n int64) bool {
	return n < -p.highest-1 || n <= p.highest && p.side(n) < 0
}
func (p *prober) above(n int64) bool {
	return n > p.highest || n >= -p.highest-1 && p.side(n) > 0
}
func (p *prober) notBelow(n int64) bool { return !p.below(n) }
func (p *prober) notAbove(n int64) bool { return !p.above(n) }

// edge returns the first ordinal after n, in the direction 1 or −1, for which
// found holds, as it does for all that follow: by steps that double, then by
// bisection.
func (p *prober) edge(n, direction int64, found func(int64) bool) int64 {
	left := uint64(p.highest+1) - uint64(n) // up to the first ordinal that is beyond
	if direction < 0 {
		left = uint64(n) + uint64(p.highest+2)
	}
	passed, step := uint64(0), uint64(1) // what is known not to be found, the next step
	at := func(k uint64) int64 { return n + direction*int64(k) }
	for !found(at(passed + step)) {
		passed += step
		step = min(2*step, left-passed)
	}
	for step > 1 {
		if half := step / 2; found(at(passed + half)) {
			step = half
		} else {
			passed += half
			step -= half
		}
	}
	return at(passed + step)
}
