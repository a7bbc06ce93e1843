package merge

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/record"
	"github.com/loratool/loratool/internal/linalg"
)

// halves reports whether the elements have 16 bits on both sides and are
// rounded to nearest, as nearly all are: they have a faster way.
func (c *change) halves() bool { return c.fusible() }

// A span is the first and the last ordinal of the preimages of a half. There
// are none if last is below first.
type span struct{ first, last int32 }

// unclear is the first ordinal of a span that the prober must find.
const unclear = math.MaxInt32

// spansOf appends the spans of elements of a row of merged halves. Theirs are
// the deltas d, times sign, which may be wrong by e. It does what the prober's
// quick does, but almost without jumps, where merged values and preimages are
// normal and of one sign.
func spansOf[T linalg.Float](spans []span, g *dtype.Grid, elements []int32, merged []byte, d []T, sign, e float64) []span {
	for _, j := range elements {
		bits := uint64(binary.LittleEndian.Uint16(merged[2*j:]))
		m, negative := bits&0x7fff, bits>>15
		low, high := g.AroundNormal(m)
		// As if the merged value were positive.
		x := math.Float64frombits(math.Float64bits(float64(sign*float64(d[j]))) ^ negative<<63)
		err := e + float64((high+math.Abs(x))*0x1p-50)
		low, high = low-x, high-x
		first, last := g.CeilNormal(low-err), g.FloorNormal(high+err)
		if !g.Normal(m) || !g.Spans(low-err, high+err) || first != g.CeilNormal(low+err) || last != g.FloorNormal(high-err) {
			spans = append(spans, span{first: unclear})
			continue
		}
		// The ordinals of negative values are the complements, in reverse.
		a, b := int32(first)^-int32(negative), int32(last)^-int32(negative)
		if first > last {
			a, b = 1, 0
		}
		spans = append(spans, span{min(a, b), max(a, b)})
	}
	return spans
}

// slowSpans lists the slow elements of a row and their spans.
func (c *computer[T]) slowSpans(merged []byte, d []T, sign float64, at place) ([]int32, []span) {
	c.elements = c.slow.appendTo(c.elements[:0])
	c.spans = spansOf(c.spans[:0], &c.marks.p.grid, c.elements, merged, d, sign, slack[T](at.bound))
	return c.elements, c.spans
}

// markHalves is markElement for the slow elements of a row of halves.
func (c *computer[T]) markHalves(source, out []byte, d []T, at place) error {
	elements, spans := c.slowSpans(out, d, 1, at)
	n, row := c.roomFor(len(spans), at)
	for i, s := range spans {
		j := int(elements[i])
		if s.first == unclear {
			m, several, err := c.markElement(j, source, out, float64(d[j]), at)
			if err != nil {
				return err
			}
			if several {
				row[n] = m.half()
				n++
			}
			continue
		}
		w := int32(binary.LittleEndian.Uint16(source[2*j:]))
		w = w&0x7fff ^ -(w >> 15)
		row[n] = halfMark{uint32(at.at + j), int16(s.first), uint16(w - s.first), uint16(s.last - s.first)}
		n += s.several()
	}
	c.marks.halves[at.line] = row[:n]
	return nil
}

// roomFor returns the marks of a row, with room for so many more, and how many
// there are. What is written without a jump and not counted is overwritten.
func (c *computer[T]) roomFor(more int, at place) (n int, row []halfMark) {
	row = c.marks.halves[at.line]
	n = len(row)
	return n, slices.Grow(row, more)[:n+more]
}

// several is 1 if a span has more than one ordinal, and 0 if not.
func (s span) several() int { return int(uint32(s.first-s.last) >> 31) }

// restoreHalves is restoreElement for the slow elements of a row of halves.
func (c *computer[T]) restoreHalves(out, merged []byte, d []T, at place) error {
	elements, spans := c.slowSpans(merged, d, -1, at)
	n, row := c.roomFor(len(spans), at)
	for i, s := range spans {
		j := int(elements[i])
		if s.first == unclear || c.change.inverse.record == nil {
			m, several, err := c.restoreElement(j, out, merged, -float64(d[j]), at)
			if err != nil {
				return err
			}
			if several {
				row[n] = m.half()
				n++
			}
			continue
		}
		if s.first > s.last {
			return c.change.inverse.missing(c.change, at.row, at.col+j)
		}
		putOrdinal(out[2*j:], s.first)
		row[n] = halfMark{at: uint32(at.at + j), first: int16(s.first), last: uint16(s.last - s.first)}
		n += s.several()
	}
	c.marks.halves[at.line] = row[:n]
	return nil
}

// putOrdinal writes the half with an ordinal.
func putOrdinal(dst []byte, n int32) {
	sign := n >> 31
	binary.LittleEndian.PutUint16(dst, uint16(n^sign)|uint16(sign)<<15)
}

// restoreHalfMarks is restoreMark for the marks of a row of halves, of which
// element 0 is one of the tensor's.
func (c *computer[T]) restoreHalfMarks(part []byte, element int, row []halfMark) error {
	if c.reading == nil {
		for _, m := range row {
			putOrdinal(part[2*m.at:], int32(m.first)+int32(m.value))
		}
		c.change.inverse.uncertain.Add(int64(len(row)))
		return nil
	}
	for _, m := range row {
		if err := c.reading.advance((element + int(m.at)) / record.BlockElements); err != nil {
			return err
		}
		putOrdinal(part[2*m.at:], int32(m.first)+int32(c.reading.bits.Index(uint64(m.last))))
	}
	return nil
}
