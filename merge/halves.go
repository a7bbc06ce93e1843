package merge

import (
	"encoding/binary"
	"math"

	"github.com/loratool/loratool/format/dtype"
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
	row := &c.marks.rows[at.line]
	elements, spans := c.slowSpans(out, d, 1, at)
	for i, s := range spans {
		j := int(elements[i])
		if s.first == unclear {
			if err := c.markElement(j, source, out, float64(d[j]), at); err != nil {
				return err
			}
			continue
		}
		if s.first < s.last {
			w := int32(binary.LittleEndian.Uint16(source[2*j:]))
			w = w&0x7fff ^ -(w >> 15)
			*row = append(*row, mark{at: at.at + j, first: int64(s.first), value: uint64(w - s.first), last: uint64(s.last - s.first)})
		}
	}
	return nil
}

// restoreHalves is restoreElement for the slow elements of a row of halves.
func (c *computer[T]) restoreHalves(out, merged []byte, d []T, at place) error {
	row := &c.marks.rows[at.line]
	elements, spans := c.slowSpans(merged, d, -1, at)
	for i, s := range spans {
		j := int(elements[i])
		switch {
		case s.first == unclear || c.change.inverse.record == nil:
			if err := c.restoreElement(j, out, merged, -float64(d[j]), at); err != nil {
				return err
			}
		case s.first > s.last:
			return c.change.inverse.missing(c.change, at.row, at.col+j)
		case s.first < s.last:
			*row = append(*row, mark{at: at.at + j, first: int64(s.first), last: uint64(s.last - s.first)})
		default:
			sign := s.first >> 31
			binary.LittleEndian.PutUint16(out[2*j:], uint16(s.first^sign)|uint16(sign)<<15)
		}
	}
	return nil
}
