package merge

import (
	"math"
	"sync/atomic"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/record"
	"github.com/loratool/loratool/internal/linalg"
)

// An inverse says how the values of the base come back from merged ones. The
// change that has one computes −Δ: its terms have the opposite sign.
type inverse struct {
	record    *record.Reader // nil: without a record, to the nearest value
	tensor    record.Tensor
	table     record.Table
	check     func(from, to int64) error // of the merged tensor's bytes, before they are used; nil: none is needed
	rows      *verbatim                  // what was in the rows that were replaced, nil if none was
	uncertain atomic.Int64               // elements for which the nearest value was taken
}

// restoreRow computes the base's values of a row from the merged ones. D is
// the negative delta.
func (c *computer[T]) restoreRow(out, merged []byte, d []T, at place) error {
	ch := c.change
	if ch.isReplaced(at.row) {
		clear(out) // the verbatim rows come later
		return nil
	}
	if ch.copies(c.plane) {
		copy(out, merged)
		return nil
	}
	if len(c.laid) == 0 {
		clear(d)
	}
	c.settler.row = -1
	same := ch.in == ch.out.DType
	plain := len(c.laid) > 0 && at.bound <= c.headroom*c.epsilon && ch.dora == nil && same && ch.in != dtype.F64
	switch half, ok := any(d).([]float32); {
	case ok && plain && ch.fusible() && c.subtractHalf(out, merged, half, at):
	case plain && ch.random == nil:
		c.subtract(out, merged, d, at)
	case plain && ch.in.NegativeZero():
		c.subtractRandom(out, merged, d, at)
	default:
		c.slow.addAll(len(d))
	}
	if ch.halves() {
		return c.restoreHalves(out, merged, d, at)
	}
	for j := range c.slow.all() {
		m, several, err := c.restoreElement(j, out, merged, -float64(d[j]), at)
		if err != nil {
			return err
		}
		if several {
			c.marks.rows[at.line] = append(c.marks.rows[at.line], m)
		}
	}
	return nil
}

// subtractHalf rounds M − Δ of a 16-bit row and notes where that need not be
// the only preimage. It reports whether all values were finite.
func (c *computer[T]) subtractHalf(out, merged []byte, d []float32, at place) bool {
	f := &c.fused
	f.lanes = dtype.Lanes{}
	e := float32(slack[T](at.bound))
	c.change.in.AddRound32(out, merged, d, e, c.slow, &f.lanes)
	var sums linalg.Sums
	sums.AddLanes(&f.lanes.W2, &f.lanes.Dot, &f.lanes.D2, 0)
	if !finite(sums.W2 + sums.Dot + sums.D2) {
		return false
	}
	c.screen(out, merged, at)
	return true
}

// subtract is subtractHalf for any dtype that is rounded to nearest.
func (c *computer[T]) subtract(out, merged []byte, d []T, at place) {
	v := c.w[:len(d)]
	decode(c.change.in, v, merged)
	c.addBounds(c.lo[:len(d)], c.hi[:len(d)], v, d, T(slack[T](at.bound)))
	c.settleRestored(out, merged, at)
}

// subtractRandom is subtract for stochastic rounding: what rounds to M has its
// middle not at M.
func (c *computer[T]) subtractRandom(out, merged []byte, d []T, at place) {
	ch, g := c.change, &c.marks.p.out
	index := ch.elementIndex(c.plane, at.row, at.col)
	sign, bound := ch.in.SignBit(), slack[T](at.bound)
	rounding := 0.0 // of the ends
	if c.narrow() {
		rounding, c.low, c.high = 0x1p-23, grow(c.low, len(d)), grow(c.high, len(d))
		bound += 0x1p-149 // where they are subnormal
	}
	var block [4]uint32
	for j := range d {
		i := index + uint64(j)
		if j == 0 || i&3 == 0 {
			block = ch.random.Block(i)
		}
		u := uniform(block[i&3] >> (32 - uniformBits))
		value := ch.in.Bits64(merged, j)
		v := g.Value(value &^ sign)
		// The values around M, where they are closer toward zero, lie within
		// the cell of the wider spacing.
		_, half := g.Around(value &^ sign)
		x := v + float64((u-0.5)*float64(2*(half-v)))
		if value&sign != 0 {
			x = -x
		}
		t := x + float64(d[j])
		e := bound + float64((math.Abs(x)+math.Abs(t))*0x1p-50) + float64(math.Abs(t)*rounding)
		if rounding != 0 {
			c.low[j], c.high[j] = float32(t-e), float32(t+e)
		} else {
			c.lo[j], c.hi[j] = T(t-e), T(t+e)
		}
	}
	c.settleRestored(out, merged, at)
}

// narrow reports whether float32 is enough for the ends of intervals in which
// stochastically rounded values came from.
func (c *computer[T]) narrow() bool {
	return c.change.random != nil && c.change.in.Working() == dtype.F32
}

// settleRestored rounds both ends of the intervals and notes where they differ
// or the result need not be the only preimage.
func (c *computer[T]) settleRestored(out, merged []byte, at place) {
	in := c.change.in
	n := len(out) / (in.Bits() / 8)
	c.other = grow(c.other, len(out))
	if c.narrow() {
		in.Encode32(out, c.low[:n])
		in.Encode32(c.other, c.high[:n])
	} else {
		encode(in, out, c.lo[:n])
		encode(in, c.other, c.hi[:n])
	}
	c.slow.addDifferent(out, c.other, in.Bits()/8)
	c.addNotFinite(merged)
	c.screen(out, merged, at)
}

// restoreElement computes the base's value of element j of a row: its only
// preimage, or a mark where there are several.
func (c *computer[T]) restoreElement(j int, out, merged []byte, d float64, at place) (m mark, several bool, err error) {
	if c.stop.Load() {
		return mark{}, false, errStopped
	}
	ch := c.change
	width := ch.in.Bits() / 8
	value := ch.out.DType.Bits64(merged, j)
	if !isFinite(ch.out.DType, value) {
		if ch.in == ch.out.DType {
			putBits(out[j*width:(j+1)*width], value)
			return mark{}, false, nil
		}
		return escape(at.at+j, 0, width), true, nil
	}
	p := c.probe(value, at.row, at.col+j, d, at.bound)
	near := p.guess()
	first, last := p.interval(near)
	switch {
	case last >= first:
	case ch.inverse.record != nil:
		return mark{}, false, ch.inverse.missing(ch, at.row, at.col+j)
	default: // it was merged otherwise: what comes nearest
		first, last = near, near
		ch.inverse.uncertain.Add(1)
	}
	putBits(out[j*width:(j+1)*width], ch.in.FromOrdinal(first))
	return mark{at: at.at + j, first: first, value: uint64(max(first, min(near, last)) - first), last: uint64(last - first)}, first < last, nil
}

// restoreMark writes the value of an element that has several preimages.
func (c *computer[T]) restoreMark(part []byte, element int, m *mark) error {
	ch := c.change
	v := m.value
	if c.reading != nil {
		if err := c.reading.advance(element / record.BlockElements); err != nil {
			return err
		}
		v = c.reading.bits.Index(m.last)
	} else {
		ch.inverse.uncertain.Add(1)
	}
	width := ch.in.Bits() / 8
	if !m.verbatim {
		v = ch.in.FromOrdinal(m.first + int64(v))
	}
	putBits(part[m.at*width:(m.at+1)*width], v)
	return nil
}

// missing is the error about an element that nothing merges to.
func (v *inverse) missing(ch *change, row, col int) error {
	return v.record.Fault("RC013", ch.out.Name, "no value of the base becomes element [%d %d]", row, col)
}

// addNotFinite adds the elements that are not finite to the slow ones.
func (c *computer[T]) addNotFinite(merged []byte) {
	d := c.change.in
	if d.NegativeZero() {
		d.AtLeast(c.slow, merged, d.MaxMagnitude()+1)
		return
	}
	for j := range len(merged) / (d.Bits() / 8) { // a NaN has no magnitude
		if !isFinite(d, d.Bits64(merged, j)) {
			c.slow.add(j)
		}
	}
}

// indices reads the indices of a run of blocks of a tensor.
type indices struct {
	inverse *inverse
	src     []byte // the data of the blocks
	block   int    // the one in work
	bits    record.BitReader
}

// openIndices reads the data of blocks [first, end).
func (v *inverse) openIndices(first, end int) (*indices, error) {
	at := v.table[first]
	src, err := v.record.Read(record.Blob{At: at, Len: v.table[end] - at})
	if err != nil {
		return nil, err
	}
	x := &indices{inverse: v, src: src, block: first}
	x.next()
	return x, nil
}

// next begins with the block in work.
func (x *indices) next() {
	n := x.inverse.table[x.block+1] - x.inverse.table[x.block]
	x.bits = record.NewBitReader(x.src[:n])
	x.src = x.src[n:]
}

// advance goes on to a block, after the end of those before it.
func (x *indices) advance(block int) error {
	for x.block < block {
		if err := x.check(true); err != nil {
			return err
		}
		x.block++
		x.next()
	}
	return nil
}

func (x *indices) check(done bool) error {
	if err := x.bits.Err(done); err != nil {
		return x.inverse.record.Fault("RC010", x.inverse.tensor.Name, "block %d: %w", x.block, err)
	}
	return nil
}

// finish checks what is left after the elements up to end, of size in all.
func (x *indices) finish(end, size int) error {
	last := (end - 1) / record.BlockElements
	if err := x.advance(last); err != nil {
		return err
	}
	return x.check(end == size || end%record.BlockElements == 0)
}

// restore computes elements [first, last) of the base. A block of indices is
// read from its beginning, so elements before the first are computed too and
// left out.
func (k *worker) restore(dst []byte, ch *change, first, last int) error {
	width := ch.in.Bits() / 8
	if skip := first % record.BlockElements; skip > 0 && ch.inverse.record != nil {
		begin := first - skip
		end := min(last, begin+record.BlockElements)
		k.scratch = grow(k.scratch, (end-begin)*width)
		finished := k.c32.finished
		k.unfollow()
		if err := k.restoreBlocks(k.scratch, ch, begin, end); err != nil {
			return err
		}
		k.c32.finished, k.c64.finished = finished, finished
		n := copy(dst, k.scratch[skip*width:])
		dst, first = dst[n:], end
	}
	if first == last {
		return nil
	}
	return k.restoreBlocks(dst, ch, first, last)
}

// restoreBlocks computes elements [first, last); first is that of a block.
func (k *worker) restoreBlocks(dst []byte, ch *change, first, last int) error {
	v := ch.inverse
	var x *indices
	if v.record != nil {
		width := int64(ch.out.DType.Bits() / 8)
		err := v.check(int64(first)*width, int64(last)*width)
		if err != nil {
			return err
		}
		if x, err = v.openIndices(first/record.BlockElements, (last+record.BlockElements-1)/record.BlockElements); err != nil {
			return err
		}
	}
	var s Stats
	var err error
	if ch.single() {
		k.c32.reading = x
		err = k.c32.fill(dst, ch, first, last, &s)
	} else {
		k.c64.reading = x
		err = k.c64.fill(dst, ch, first, last, &s)
	}
	if err != nil {
		return err
	}
	if x != nil {
		if err := x.finish(last, ch.planes*ch.rows*ch.cols); err != nil {
			return err
		}
	}
	return ch.putBack(dst, first, last)
}

// putBack copies the rows that were replaced within elements [first, last).
func (c *change) putBack(dst []byte, first, last int) error {
	width := c.in.Bits() / 8
	for i, r := range c.replaced {
		from, to := max(first, r.row*c.cols), min(last, (r.row+1)*c.cols)
		if from >= to {
			continue
		}
		at := int64(i*c.cols+from-r.row*c.cols) * int64(width)
		if err := c.inverse.rows.read(dst[(from-first)*width:(to-first)*width], at); err != nil {
			return err
		}
	}
	return nil
}
