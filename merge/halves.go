package merge

import (
	"encoding/binary"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/record"
)

// halves reports whether the elements have 16 bits on both sides and are
// rounded to nearest, as nearly all are: they have a faster way.
func (c *change) halves() bool { return c.fusible() }

// slowRanges lists the slow elements of a row of merged halves, and the ranges
// of their preimages. Theirs are the deltas d, times sign.
func (c *computer[T]) slowRanges(merged []byte, d []T, sign float64, at place) ([]int32, []dtype.Range) {
	c.elements = c.slow.appendTo(c.elements[:0])
	n := len(c.elements)
	c.ranges, c.halves, c.numbers = grow(c.ranges, n), grow(c.halves, n), grow(c.numbers, n)
	for i, j := range c.elements {
		c.halves[i] = binary.LittleEndian.Uint16(merged[2*j:])
		c.numbers[i] = float64(sign * float64(d[j]))
	}
	c.marks.p.halves.Find(c.ranges, c.halves, c.numbers, slack[T](at.bound))
	return c.elements, c.ranges
}

// markHalves is markElement for the slow elements of a row of halves.
func (c *computer[T]) markHalves(source, out []byte, d []T, at place) error {
	elements, ranges := c.slowRanges(out, d, 1, at)
	row := &c.marks.halves[at.line]
	n := len(row.at)
	row.reserve(len(ranges))
	for i, r := range ranges {
		j := int(elements[i])
		if r == dtype.Unclear {
			m, several, err := c.markElement(j, source, out, float64(d[j]), at)
			if err != nil {
				return err
			}
			if several {
				row.set(n, m)
				n++
			}
			continue
		}
		w := int16(binary.LittleEndian.Uint16(source[2*j:]))
		w ^= w >> 15 & 0x7fff // its ordinal
		row.at[n], row.indices[n] = uint32(at.at+j), record.Index{Value: uint16(w - r.First), Last: uint16(r.Last - r.First)}
		n += several(r)
	}
	row.truncate(n)
	return nil
}

// several is 1 if a range has more than one ordinal, and 0 if not.
func several(r dtype.Range) int { return int(uint32(int32(r.First)-int32(r.Last)) >> 31) }

// restoreHalves is restoreElement for the slow elements of a row of halves.
func (c *computer[T]) restoreHalves(out, merged []byte, d []T, at place) error {
	elements, ranges := c.slowRanges(merged, d, -1, at)
	row := &c.marks.halves[at.line]
	n := len(row.at)
	row.reserve(len(ranges))
	for i, r := range ranges {
		j := int(elements[i])
		if r == dtype.Unclear || c.change.inverse.record == nil {
			m, several, err := c.restoreElement(j, out, merged, -float64(d[j]), at)
			if err != nil {
				return err
			}
			if several {
				row.set(n, m)
				n++
			}
			continue
		}
		if r.First > r.Last {
			return c.change.inverse.missing(c.change, at.row, at.col+j)
		}
		putOrdinal(out[2*j:], r.First)
		row.at[n], row.first[n], row.indices[n].Last = uint32(at.at+j), r.First, uint16(r.Last-r.First)
		n += several(r)
	}
	row.truncate(n)
	return nil
}

// putOrdinal writes the half with an ordinal.
func putOrdinal(dst []byte, n int16) {
	binary.LittleEndian.PutUint16(dst, uint16(n^n>>15&0x7fff))
}

// restoreHalfMarks is restoreMark for the marks of a row of halves, of which
// element 0 is one of the tensor's.
func (c *computer[T]) restoreHalfMarks(part []byte, element int, row *halfMarks) error {
	for n := 0; n < len(row.at); {
		count, block := row.inBlock(n, element)
		indices := row.indices[n : n+count]
		if c.reading != nil {
			if err := c.reading.advance(block); err != nil {
				return err
			}
			c.reading.bits.Indices(indices)
		} else {
			c.change.inverse.uncertain.Add(int64(count))
		}
		for i, x := range indices {
			putOrdinal(part[2*row.at[n+i]:], row.first[n+i]+int16(x.Value))
		}
		n += count
	}
	return nil
}
