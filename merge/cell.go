package merge

import (
	"math"

	"github.com/loratool/loratool/format/dtype"
)

// A cell is the closed interval of the numbers that round to one value: from
// center − below to center + above. Which of its ends round elsewhere does not
// matter here; spec/annex-a-record.md counts both as inside.
type cell struct {
	center, below, above float64
	spacing              float64 // distance to the farther neighbour
}

// ends returns the ends of the cell of a dtype but F64, where they are exact.
func (c cell) ends() (low, high float64) { return c.center - c.below, c.center + c.above }

// gridCell is nearestCell where there is a grid.
func gridCell(g *dtype.Grid, d dtype.DType, bits uint64) cell {
	sign := d.SignBit()
	m := bits &^ sign
	v := g.Value(m)
	outer := g.After(m) - v
	inner := 0.0
	if m > 0 {
		inner = v - g.After(m-1)
	}
	return newCell(d, bits, v, inner, outer, 2*outer)
}

// nearestCell returns the cell of finite bits of d under rounding to nearest.
func nearestCell(d dtype.DType, bits uint64) cell {
	v, inner, outer := gaps(d, bits)
	return newCell(d, bits, v, float64(inner/2), float64(outer/2), max(inner, outer))
}

// randomCell returns the cell of finite bits of d under stochastic rounding
// with the uniform number u: a value moves away from zero if it is farther
// than u from the neighbour nearer to zero, in units of their distance.
func randomCell(d dtype.DType, bits uint64, u float64) cell {
	v, inner, outer := gaps(d, bits)
	below, above := float64((1-u)*inner), float64(u*outer)
	if bits&^d.SignBit() == d.MaxMagnitude() {
		above = math.Inf(1) // what lies beyond becomes this value too
	}
	return newCell(d, bits, v, below, above, max(inner, outer))
}

// gaps returns the magnitude of bits and its distances from the neighbours
// nearer to zero and farther from it.
func gaps(d dtype.DType, bits uint64) (v, inner, outer float64) {
	m := bits &^ d.SignBit()
	v = d.Value(m)
	if m > 0 {
		inner = v - d.Value(m-1)
	}
	if m < d.MaxMagnitude() {
		return v, inner, d.Value(m+1) - v
	}
	return v, inner, inner
}

func newCell(d dtype.DType, bits uint64, v, inner, outer, spacing float64) cell {
	switch {
	case bits == 0 && !d.NegativeZero():
		return cell{0, outer, outer, spacing}
	case bits&d.SignBit() != 0:
		return cell{-v, outer, inner, spacing}
	}
	return cell{v, inner, outer, spacing}
}

// negative returns the cell of the negative numbers.
func (c cell) negative() cell { return cell{-c.center, c.above, c.below, c.spacing} }

// middle returns the number in the middle, or the center of an open-ended one.
func (c cell) middle() float64 {
	if math.IsInf(c.above-c.below, 0) {
		return c.center
	}
	return c.center + float64((c.above-c.below)/2)
}

// meets reports whether a cell has a number within e of t.
func (c cell) meets(t, e float64) bool {
	return t+e >= c.center-c.below && t-e <= c.center+c.above
}
