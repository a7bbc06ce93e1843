package merge

import (
	"math"

	"github.com/loratool/loratool/format/dtype"
)

// boundedRow finishes a row whose rounding is not a plain rounding of w+d: a
// row scaled by DoRA, or one that is rounded stochastically. Each value has
// its own error bound; where the two ends of it round differently, the element
// is computed exactly.
func (c *computer[T]) boundedRow(out []byte, w, d []T, bound float64, row, col int, s *Stats) error {
	ch := c.change
	width := ch.out.DType.Bits() / 8
	if ch.dora != nil {
		if err := ch.dora.prepare(ch); err != nil {
			return err
		}
	}
	for j := range w {
		x := float64(w[j])
		t := x + float64(d[j])
		e := bound + math.Abs(t)*0x1p-52 + 0x1p-1060
		if ch.dora != nil {
			t, e = ch.dora.scale(t, e, row, col+j)
			d[j] = T(t - x) // what the adapter changes, for the statistics
		}
		place := out[j*width : (j+1)*width]
		if !c.roundBoth(place, t-e, t+e, row, col+j) {
			c.exact.roundElement(place, ch, c.plane, row, col+j, x)
		}
	}
	return c.account(out, w, d, row, col, s)
}

// roundBoth rounds both ends of an interval to dst and reports whether they
// agree.
func (c *computer[T]) roundBoth(dst []byte, low, high float64, row, col int) bool {
	ch := c.change
	if ch.random == nil {
		c.exact.pair = [2]float64{low, high}
		a, b := c.exact.low[:len(dst)], c.exact.high[:len(dst)]
		ch.out.DType.Encode64(a, c.exact.pair[:1])
		ch.out.DType.Encode64(b, c.exact.pair[1:])
		copy(dst, a)
		return string(a) == string(b)
	}
	u := ch.random.uniform(ch.elementIndex(c.plane, row, col))
	a, b := roundRandom(ch.out.DType, low, u), roundRandom(ch.out.DType, high, u)
	putBits(dst, a)
	return a == b
}

// elementIndex is the row-major index of an element in the tensor.
func (c *change) elementIndex(plane, row, col int) uint64 {
	return (uint64(plane)*uint64(c.rows)+uint64(row))*uint64(c.cols) + uint64(col)
}

func putBits(dst []byte, bits uint64) {
	for i := range dst {
		dst[i] = byte(bits >> (8 * i))
	}
}

// convert writes values that change their dtype at most.
func (c *computer[T]) convert(out, source []byte, w []T, row, col int) error {
	ch := c.change
	if ch.in == ch.out.DType {
		copy(out, source)
		return nil
	}
	encode(ch.out.DType, out, w)
	if ch.out.DType.MaxFinite() >= ch.in.MaxFinite() {
		return nil
	}
	merged := c.lo[:len(w)]
	decode(ch.out.DType, merged, out)
	for j, x := range w {
		if !finite(x) || finite(merged[j]) {
			continue
		}
		return overflow(ch, row, col+j, float64(x))
	}
	return nil
}

// roundElement is round for an element that is scaled or rounded
// stochastically.
func (e *exact) roundElement(dst []byte, ch *change, plane, row, col int, w float64) {
	if !finite(w) {
		e.round(dst, ch, plane, row, col, w)
		return
	}
	total := e.total(ch, plane, row, col, w)
	if ch.dora != nil {
		total = ch.dora.scaleExact(e, ch, total, row, col)
	}
	if ch.random == nil || ch.out.DType == dtype.F64 {
		e.pair[0] = toOdd(total, ch.out.DType == dtype.F64)
		ch.out.DType.Encode64(dst, e.pair[:1])
		return
	}
	u := ch.random.uniform(ch.elementIndex(plane, row, col))
	putBits(dst, roundRandomExact(ch.out.DType, total, u))
}
