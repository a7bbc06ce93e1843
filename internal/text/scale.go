package text

import (
	"math"
	"strings"
)

// A scale maps the finite values between low and high to levels.
type scale struct {
	low, high float64 // NaN if there is no finite value
	log       bool
}

// newScale spans the finite values of a table. It is logarithmic if all are
// above zero and the largest is at least logRange times the smallest.
func newScale(values [][]float64) scale {
	s := scale{low: math.NaN(), high: math.NaN()}
	for _, row := range values {
		for _, v := range row {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				continue
			}
			if s.empty() {
				s.low, s.high = v, v
			}
			s.low, s.high = min(s.low, v), max(s.high, v)
		}
	}
	if s.high-s.low <= sameShare*max(math.Abs(s.low), math.Abs(s.high)) {
		s.low = s.high
	}
	s.log = s.low > 0 && s.high/s.low >= logRange
	return s
}

// sameShare is the relative difference up to which values count as equal: what
// rounding makes of equal ones is no picture.
const sameShare = 1e-9

// empty reports whether no finite value was found.
func (s scale) empty() bool { return math.IsNaN(s.low) }

// level returns the level of a finite value among n, from 0. If all values are
// equal they are at the middle level.
func (s scale) level(v float64, n int) int {
	if s.high == s.low {
		return n / 2
	}
	low, high := s.low, s.high
	if s.log {
		v, low, high = math.Log(v), math.Log(low), math.Log(high)
	}
	share := (float64(v/2) - float64(low/2)) / (float64(high/2) - float64(low/2)) // halves: the range may overflow
	return max(0, min(n-1, int(share*float64(n))))
}

// Sparkline draws values as one character each, bars of growing height or,
// without unicode, digits. NaN is shown as a space, an infinity as "!".
func Sparkline(values []float64, unicode bool) string {
	levels := digits
	if unicode {
		levels = blocks
	}
	s := newScale([][]float64{values})
	s.log = false
	var b strings.Builder
	for _, v := range values {
		switch {
		case math.IsNaN(v):
			b.WriteByte(' ')
		case math.IsInf(v, 0):
			b.WriteByte('!')
		default:
			b.WriteString(levels[s.level(v, len(levels))])
		}
	}
	return b.String()
}
