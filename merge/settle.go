package merge

import (
	"math"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/internal/linalg"
)

// A settler decides single elements of a row for which the working precision
// cannot tell the rounding: in float64 with an error bound, and where that
// does not decide either, exactly.
type settler[T linalg.Float] struct {
	row  int // the row whose left factors are in left; −1: none
	left []float64
}

// settleElement writes the correctly rounded element (row, col), whose value
// in the base is w, to dst.
func (c *computer[T]) settleElement(dst []byte, row, col int, w float64) {
	if c.stop.Load() {
		return
	}
	out := c.change.out.DType
	if out != dtype.F64 && finite(w) {
		t, bound := c.approximate(row, col, w)
		e := &c.exact
		e.pair = [2]float64{t - bound, t + bound}
		low, high := e.low[:len(dst)], e.high[:len(dst)]
		out.Encode64(low, e.pair[:1])
		out.Encode64(high, e.pair[1:])
		if string(low) == string(high) {
			copy(dst, low)
			return
		}
	}
	c.exact.round(dst, c.change, c.plane, row, col, w)
}

// approximate returns w + Σ c·l·r in float64 and a bound of its error.
func (c *computer[T]) approximate(row, col int, w float64) (t, bound float64) {
	if c.settler.row != row {
		c.gatherLeft(row)
	}
	t = w
	left, cols := c.settler.left, c.change.cols
	for i := range c.laid {
		l := &c.laid[i]
		sum, abs := 0.0, 0.0
		for k, x := range left[:l.rank] {
			p := float64(x * float64(l.values[k*cols+col]))
			sum += p
			abs += math.Abs(p)
		}
		left = left[l.rank:]
		t += float64(l.coefficient * sum)
		bound += float64(float64(l.rank+len(c.laid)+6) * 0x1p-53 * math.Abs(l.coefficient) * abs)
	}
	bound = float64(bound * 1.001)
	return t, bound + float64((math.Abs(t)+math.Abs(w)+bound)*0x1p-52*float64(len(c.laid)+1)) + 0x1p-1060
}

// gatherLeft decodes the row of every left factor; zeros for a term that does
// not cover the row.
func (c *computer[T]) gatherLeft(row int) {
	n := 0
	for i := range c.laid {
		n += c.laid[i].rank
	}
	c.settler.row, c.settler.left = row, grow(c.settler.left, n)
	left := c.settler.left
	for i := range c.laid {
		l := &c.laid[i]
		if at := index(l.rowSpan, row); at < 0 {
			clear(left[:l.rank])
		} else {
			l.left.row(left[:l.rank], at)
		}
		left = left[l.rank:]
	}
}
