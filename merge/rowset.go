package merge

import (
	"bytes"
	"iter"
	"math/bits"
	"slices"
)

// A rowSet is a set of the elements of a row: element j is bit j mod 16 of word
// j/16, as the kernels of format/dtype have it.
type rowSet []uint16

// begin empties the set for a row of n elements.
func (s *rowSet) begin(n int) {
	*s = grow(*s, (n+15)/16)
	clear(*s)
}

func (s rowSet) add(j int) { s[j/16] |= 1 << (j % 16) }

// addAll adds the n elements of the row.
func (s rowSet) addAll(n int) {
	for i := range s[:n/16] {
		s[i] = 1<<16 - 1
	}
	if n%16 > 0 {
		s[n/16] = 1<<(n%16) - 1
	}
}

// all visits the elements in order.
func (s rowSet) all() iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := 0; i < len(s); i += 4 {
			for set := s.four(i); set != 0; set &= set - 1 {
				if !yield(16*i + bits.TrailingZeros64(set)) {
					return
				}
			}
		}
	}
}

// appendTo appends the elements in order. Most of 64 have few: four are written
// without a jump, and what was written beyond the last is overwritten.
func (s rowSet) appendTo(dst []int32) []int32 {
	dst = slices.Grow(dst, 16*len(s)+4)
	n := len(dst)
	dst = dst[:cap(dst)]
	for i := 0; i < len(s); i += 4 {
		set := s.four(i)
		for left := bits.OnesCount64(set); left > 0; left -= 4 {
			to := dst[n : n+4 : n+4]
			for k := range to {
				to[k] = int32(16*i + bits.TrailingZeros64(set))
				set &= set - 1
			}
			n += min(left, 4)
		}
	}
	return dst[:n]
}

// four returns the words from i on, up to four.
func (s rowSet) four(i int) uint64 {
	if w := s[i:]; len(w) >= 4 {
		return uint64(w[0]) | uint64(w[1])<<16 | uint64(w[2])<<32 | uint64(w[3])<<48
	}
	set := uint64(0)
	for k, w := range s[i:] {
		set |= uint64(w) << (16 * k)
	}
	return set
}

// addDifferent adds the elements in which a and b differ. They are few, so runs
// of bytes that agree are passed over first.
func (s rowSet) addDifferent(a, b []byte, width int) {
	const run = 128
	for at := 0; at < len(a); at += run {
		end := min(at+run, len(a))
		if bytes.Equal(a[at:end], b[at:end]) {
			continue
		}
		for j := at; j < end; j += width {
			if !bytes.Equal(a[j:j+width], b[j:j+width]) {
				s.add(j / width)
			}
		}
	}
}
