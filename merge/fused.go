package merge

import (
	"math"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/internal/linalg"
)

// fusedChunk is how many elements are summed in float32 before the sums go to
// float64: 128 for each of the 16 lanes.
const fusedChunk = blockCols

// A fused row adds, rounds and measures in one pass over the bytes.
type fused struct {
	lanes dtype.Lanes
	value [1]float32
}

// fusible reports whether rows of the change can go by fusedRow.
func (c *change) fusible() bool {
	return c.in == c.out.DType && c.in.AddsRounded() && c.dora == nil && c.random == nil
}

// fusedRow finishes a row of a 16-bit dtype. It reports whether all values
// were finite; if not, out is not meaningful.
func (c *computer[T]) fusedRow(out, source []byte, d []float32, e float32, row, col int, s *Stats) bool {
	var u linalg.Sums
	f := &c.fused
	c.settler.row = -1
	for at := 0; at < len(d); at += fusedChunk {
		end := min(at+fusedChunk, len(d))
		dst, src, delta := out[2*at:2*end], source[2*at:2*end], d[at:end]
		doubtful := c.slow[at/16 : (end+15)/16]
		f.lanes = dtype.Lanes{}
		changed := c.change.in.AddRound32(dst, src, delta, e, doubtful, &f.lanes)
		u.AddLanes(&f.lanes.W2, &f.lanes.Dot, &f.lanes.D2, changed)
		for j := range doubtful.all() {
			c.settleFused(dst[2*j:2*j+2], src[2*j:2*j+2], float64(delta[j]), row, col+at+j, &u)
		}
	}
	if !finite(u.W2 + u.Dot + u.D2) {
		return false
	}
	s.add(len(d), u)
	return true
}

// settleFused settles one element of a row and corrects the sums, which have
// what the kernel made of it.
func (c *computer[T]) settleFused(dst, src []byte, delta float64, row, col int, u *linalg.Sums) {
	w, before := c.value(src), c.value(dst)
	if !finite(w) {
		return
	}
	c.settleElement(dst, row, col, w)
	after := c.value(dst)
	u.Dot += float64((after - before) * delta)
	u.Changed += changes(w, after) - changes(w, before)
}

func (c *computer[T]) value(b []byte) float64 {
	c.change.in.Decode32(c.fused.value[:], b)
	return float64(c.fused.value[0])
}

// changes is 1 if v and w differ in their bits.
func changes(w, v float64) int {
	if math.Float64bits(w) != math.Float64bits(v) {
		return 1
	}
	return 0
}
