package merge

import (
	"fmt"

	"github.com/loratool/loratool/format/record"
)

// recordRow finishes a row as row does and marks the elements that several
// values of the base could have become.
func (c *computer[T]) recordRow(out, source []byte, d []T, at place, s *Stats) error {
	ch := c.change
	if ch.copies(c.plane) || ch.isReplaced(at.row) {
		return c.row(out, source, d, at.bound, at.row, at.col, s)
	}
	if ch.dora != nil { // finishing the row turns d into what scaling changes
		c.before = append(c.before[:0], d...)
	}
	if err := c.row(out, source, d, at.bound, at.row, at.col, s); err != nil {
		return err
	}
	if c.stop.Load() {
		return errStopped // a row that is not finished has no preimages
	}
	if ch.dora != nil {
		d = c.before
	}
	if len(c.laid) == 0 {
		clear(d)
	}
	c.settler.row = -1
	c.screen(source, out, at)
	if ch.halves() {
		return c.markHalves(source, out, d, at)
	}
	for j := range c.slow.all() {
		m, several, err := c.markElement(j, source, out, float64(d[j]), at)
		if err != nil {
			return err
		}
		if several {
			c.marks.rows[at.line] = append(c.marks.rows[at.line], m)
		}
	}
	return nil
}

// screen adds the elements of a row to the slow ones that may have several
// preimages: all but those for which that is excluded.
//
// If M is what w becomes, M − Δ is within half the spacing around M of w, and
// so of every other preimage. Where the neighbours of w are no closer than the
// values around M, another preimage would have to be as far from M − Δ as w
// is, both half a spacing: then w + Δ is halfway between two values, and was
// settled exactly. With a uniform number in the place of the half the argument
// is the same.
func (c *computer[T]) screen(w, merged []byte, at place) {
	ch := c.change
	n := len(w) / (ch.in.Bits() / 8)
	if ch.in != ch.out.DType || ch.random != nil && !ch.in.NegativeZero() {
		c.slow.addAll(n)
		return
	}
	if ch.dora != nil {
		// A gain g ≥ 1 spreads the values of the base farther apart.
		for j := range n {
			if g, _ := ch.dora.scaleOf(at.row, at.col+j); !(g >= 1+0x1p-20) {
				c.slow.addAll(n)
				return
			}
			if !ch.dora.onColumns {
				break
			}
		}
	}
	ch.in.Coarser(c.slow, w, merged)
	if ch.random != nil { // the largest finite value is made of everything beyond
		ch.out.DType.AtLeast(c.slow, merged, ch.out.DType.MaxMagnitude())
	}
}

// markElement returns the mark of element j of a row and whether it needs one:
// if it has several preimages.
func (c *computer[T]) markElement(j int, source, out []byte, d float64, at place) (m mark, several bool, err error) {
	if c.stop.Load() {
		return mark{}, false, errStopped
	}
	ch := c.change
	bits, merged := ch.in.Bits64(source, j), ch.out.DType.Bits64(out, j)
	if !isFinite(ch.out.DType, merged) {
		differ := ch.in != ch.out.DType // where they do not, the bits stay
		return escape(at.at+j, bits, ch.in.Bits()/8), differ, nil
	}
	n := ch.in.Ordinal(bits)
	p := c.probe(merged, at.row, at.col+j, d, at.bound)
	first, last := p.interval(n)
	if n < first || n > last {
		return mark{}, false, fmt.Errorf("tensor %q: element [%d %d] is not among its own preimages: this is a bug in loratool, please report it", ch.out.Name, at.row, at.col+j)
	}
	return mark{at: at.at + j, first: first, value: uint64(n - first), last: uint64(last - first)}, first < last, nil
}

// finishRows writes or reads the indices of the marks of the rows in work,
// which begin with an element of the plane.
func (c *computer[T]) finishRows(part []byte, rows, first int) error {
	if c.fragment == nil && c.change.inverse == nil {
		return nil
	}
	defer c.marks.forget()
	begin := c.change.elementIndex(c.plane, 0, 0) + uint64(first)
	for line, row := range c.marks.rows[:rows] {
		halves := &c.marks.halves[line]
		if c.fragment != nil {
			c.fragment.putHalves(int(begin), halves)
		} else if err := c.restoreHalfMarks(part, int(begin), halves); err != nil {
			return err
		}
		for i := range row {
			m := &row[i]
			if c.fragment != nil {
				c.fragment.put(int(begin)+m.at, m)
			} else if err := c.restoreMark(part, int(begin)+m.at, m); err != nil {
				return err
			}
		}
	}
	return nil
}

// put appends the index of an element of the tensor.
func (f *fragment) put(element int, m *mark) {
	f.enter(element / record.BlockElements)
	f.bits.PutIndex(m.value, m.last)
}

// putHalves appends the indices of the marks of a row of halves, of which
// element 0 is one of the tensor's.
func (f *fragment) putHalves(element int, row *halfMarks) {
	for n := 0; n < len(row.at); {
		count, block := row.inBlock(n, element)
		f.enter(block)
		f.bits.PutIndices(row.indices[n : n+count])
		n += count
	}
}

// enter goes on to a block, if it is not the one in work.
func (f *fragment) enter(block int) {
	if n := len(f.blocks); n == 0 || f.blocks[n-1].block != block {
		f.closeBlock()
		f.blocks = append(f.blocks, blockBits{block: block, at: len(f.bits.Bytes)})
	}
}

// closeBlock notes how long the block in work is and begins a new byte.
func (f *fragment) closeBlock() {
	if n := len(f.blocks); n > 0 && f.blocks[n-1].n == 0 {
		b := &f.blocks[n-1]
		b.n = f.bits.Len() - 8*b.at
		f.bits.Finish()
	}
}
