package merge

import (
	"bytes"
	"encoding/binary"
	"math"

	"github.com/loratool/loratool/format/dtype"
)

// boundedRow finishes a row whose rounding is not a plain rounding of w+d: a
// row scaled by DoRA, or one that is rounded stochastically. Each value has
// its own error bound; where the two ends of it round differently, the element
// is computed exactly.
func (c *computer[T]) boundedRow(out []byte, w, d []T, bound float64, row, col int, s *Stats) error {
	ch := c.change
	if ch.dora != nil {
		if err := ch.dora.prepare(ch, c.stop); err != nil {
			return err
		}
	}
	low, high := c.lo[:len(w)], c.hi[:len(w)]
	for j := range w {
		x := float64(w[j])
		t := x + float64(d[j])
		e := bound
		if t != x || bound != 0 {
			e += float64(math.Abs(t)*0x1p-52) + 0x1p-1060
		}
		if ch.dora != nil {
			t, e = ch.dora.scale(t, e, row, col+j)
			d[j] = T(t - x) // what the adapter changes, for the statistics
		}
		low[j], high[j] = T(t-e), T(t+e)
	}
	if ch.random != nil {
		c.roundRandomly(out, low, high, row, col)
	} else {
		c.other = grow(c.other, len(out))
		encode(ch.out.DType, out, low)
		encode(ch.out.DType, c.other, high)
	}
	width := ch.out.DType.Bits() / 8
	for j := range w {
		if ch.random != nil && finite(w[j]) && c.overflows(float64(low[j])) && c.overflows(float64(high[j])) {
			return overflow(ch, row, col+j, float64(w[j]))
		}
		place := out[j*width : (j+1)*width]
		if ch.random != nil && c.doubtful[j] || ch.random == nil && !bytes.Equal(place, c.other[j*width:(j+1)*width]) {
			c.slow.add(j)
			if c.stop.Load() {
				return errStopped
			}
			c.exact.roundElement(place, ch, c.plane, row, col+j, float64(w[j]))
		}
	}
	return c.account(out, w, d, row, col, s)
}

// overflows reports whether x is not finite when rounded to nearest. Rounding
// stochastically would make it the largest finite value, and nobody would know.
func (c *computer[T]) overflows(x float64) bool {
	d := c.change.out.DType
	if math.Abs(x) <= d.MaxFinite() {
		return false
	}
	e := &c.exact
	e.pair[0] = x
	b := e.low[:d.Bits()/8]
	d.Encode64(b, e.pair[:1])
	d.Decode64(e.pair[:1], b)
	return !finite(e.pair[0])
}

// roundRandomly rounds both ends of intervals to dst and marks where they
// disagree.
func (c *computer[T]) roundRandomly(dst []byte, low, high []T, row, col int) {
	ch := c.change
	width := ch.out.DType.Bits() / 8
	r := newRandomRounder(ch.out.DType)
	index := ch.elementIndex(c.plane, row, col)
	c.doubtful = grow(c.doubtful, len(low))
	for j := 0; j < len(low); {
		i := index + uint64(j)
		block := ch.random.Block(i)
		for k := i & 3; k < 4 && j < len(low); k, j = k+1, j+1 {
			n := block[k&3] >> (32 - uniformBits)
			a, b := r.round(float64(low[j]), n), r.round(float64(high[j]), n)
			putBits(dst[j*width:(j+1)*width], a)
			c.doubtful[j] = a != b
		}
	}
}

// elementIndex is the row-major index of an element in the tensor.
func (c *change) elementIndex(plane, row, col int) uint64 {
	return (uint64(plane)*uint64(c.rows)+uint64(row))*uint64(c.cols) + uint64(col)
}

func putBits(dst []byte, bits uint64) {
	if len(dst) == 2 {
		binary.LittleEndian.PutUint16(dst, uint16(bits))
		return
	}
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
