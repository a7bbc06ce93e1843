package merge

import (
	"math"
	"slices"

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

// halfMarks are the marks of a row of 16-bit elements that are not verbatim.
// There are many, so they are small.
type halfMarks struct {
	at      []uint32       // elements, as in mark
	indices []record.Index // their values, as far as known, and their last ones
	first   []int16        // ordinals
}

// reserve makes room for n more marks. They can be written without a jump,
// those that are none too, and then truncated.
func (m *halfMarks) reserve(n int) {
	m.at, m.indices, m.first = slices.Grow(m.at, n), slices.Grow(m.indices, n), slices.Grow(m.first, n)
	n += len(m.at)
	m.at, m.indices, m.first = m.at[:n], m.indices[:n], m.first[:n]
}

// truncate forgets the marks from number n on.
func (m *halfMarks) truncate(n int) {
	m.at, m.indices, m.first = m.at[:n], m.indices[:n], m.first[:n]
}

// set writes mark number n.
func (m *halfMarks) set(n int, x mark) {
	m.at[n], m.first[n] = uint32(x.at), int16(x.first)
	m.indices[n] = record.Index{Value: uint16(x.value), Last: uint16(x.last)}
}

// inBlock returns how many marks from number n on lie in the same block of the
// tensor as that one, and the block; element 0 of the row is one of the
// tensor's.
func (m *halfMarks) inBlock(n, element int) (count, block int) {
	block = (element + int(m.at[n])) / record.BlockElements
	end := (block+1)*record.BlockElements - element
	rest := m.at[n:]
	if int(rest[len(rest)-1]) < end {
		return len(rest), block
	}
	count, _ = slices.BinarySearch(rest, uint32(end))
	return count, block
}

// marks are the marks of the rows in work, by row, so that their order does
// not depend on how rows are cut into blocks.
type marks struct {
	rows   [blockRows][]mark
	halves [blockRows]halfMarks // those of a change of halves
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
		m.rows[i] = m.rows[i][:0]
		m.halves[i].truncate(0)
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
