package merge

import (
	"math"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/record"
)

// A mark is an element whose value in the base the merged value does not tell:
// the base's is number value of 0 … last, counted by ordinals from first, or
// its bits themselves.
type mark struct {
	at          int // element, counted from the first of the rows in work
	first       int64
	value, last uint64
	verbatim    bool // value is bits
}

// A halfMark is a mark of an element of 16 bits that is not verbatim. There are
// many, so it is small.
type halfMark struct {
	at          uint32
	first       int16
	value, last uint16
}

// half returns the mark as a halfMark.
func (m mark) half() halfMark {
	return halfMark{at: uint32(m.at), first: int16(m.first), value: uint16(m.value), last: uint16(m.last)}
}

// marks are the marks of the rows in work, by row, so that their order does
// not depend on how rows are cut into blocks.
type marks struct {
	rows   [blockRows][]mark
	halves [blockRows][]halfMark // those of a change of halves
	p      prober
}

// refine computes the delta of the element in work in more precision.
func (c *computer[T]) refine(p *prober) {
	if p.level == 1 {
		p.refined = c.deltaDoubled(c.at[0], c.at[1])
		if c.change.inverse != nil { // whose terms are negative
			p.refined.high, p.refined.low = -p.refined.high, -p.refined.low
		}
		return
	}
	p.exact.SetPrec(0)
	if len(c.laid) > 0 {
		p.exact.Copy(c.exact.total(c.change, c.plane, c.at[0], c.at[1], 0))
	}
	if c.change.inverse != nil {
		p.exact.Neg(&p.exact)
	}
}

// deltaDoubled returns Σ c·l·r of an element in twice the precision.
func (c *computer[T]) deltaDoubled(row, col int) (total doubled) {
	if c.settler.row != row {
		c.gatherLeft(row)
	}
	left, cols := c.settler.left, c.change.cols
	for i := range c.laid {
		l := &c.laid[i]
		x := left[:l.rank]
		left = left[l.rank:]
		total = total.add(dotDoubled(l.coefficient, x, l.values[col:], cols))
	}
	return total
}

// cellOf returns the cell of the finite merged bits of an element.
func (c *computer[T]) cellOf(bits uint64, row, col int) cell {
	ch := c.change
	switch {
	case ch.random == nil && ch.out.DType == dtype.F64:
		return nearestCell(dtype.F64, bits)
	case ch.random == nil:
		return gridCell(&c.marks.p.out, ch.out.DType, bits)
	}
	return randomCell(ch.out.DType, bits, ch.random.uniform(ch.elementIndex(c.plane, row, col)))
}

// probe begins with the element at (row, col), whose merged bits are finite; d
// is its delta.
func (c *computer[T]) probe(bits uint64, row, col int, d, bound float64) *prober {
	gain, radius := 1.0, 0.0
	if c.change.dora != nil {
		gain, radius = c.change.dora.scaleOf(row, col)
	}
	p := &c.marks.p
	p.start(c.cellOf(bits, row, col), gain, radius, d, slack[T](bound))
	c.at = [2]int{row, col}
	return p
}

// escape marks an element by its bits.
func escape(at int, bits uint64, width int) mark {
	return mark{at: at, value: bits, last: math.MaxUint64 >> (64 - 8*width), verbatim: true}
}

// forget empties the marks of the rows in work.
func (m *marks) forget() {
	for i := range m.rows {
		m.rows[i], m.halves[i] = m.rows[i][:0], m.halves[i][:0]
	}
}

// A place says where a row of a block is.
type place struct {
	row, col int     // of its first element, in the plane
	line     int     // row, counted from the first of the rows in work
	at       int     // first element, counted from the first of the rows in work
	bound    float64 // of the error of its delta
}

// A fragment is the part of the record of one change that one chunk of the
// output makes: the indices of its elements, block by block.
type fragment struct {
	change *change
	blocks []blockBits
	bits   record.Bits
}

// blockBits is the part of a block that is in a fragment: n bits of the
// fragment from byte at.
type blockBits struct {
	block, at, n int
}
