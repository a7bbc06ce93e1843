package merge

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestRowSet compares the ways through sets that are empty, full, sparse and
// dense with a list.
func TestRowSet(t *testing.T) {
	r := rand.New(rand.NewPCG(51, 51))
	var s rowSet
	for n := range 200 {
		for _, share := range []float64{0, 0.02, 0.5, 1} {
			s.begin(n)
			var want []int32
			for j := range n {
				if r.Float64() < share {
					s.add(j)
					want = append(want, int32(j))
				}
			}
			if share == 1 {
				all := rowSet(make([]uint16, len(s)))
				all.addAll(n)
				if !slices.Equal(all, s) {
					t.Fatalf("all of %d: %x, want %x", n, all, s)
				}
			}
			var visited []int32
			for j := range s.all() {
				visited = append(visited, int32(j))
			}
			if !slices.Equal(visited, want) {
				t.Fatalf("%v of %d: visited %v, want %v", share, n, visited, want)
			}
			if got := s.appendTo([]int32{-1}); got[0] != -1 || !slices.Equal(got[1:], want) {
				t.Fatalf("%v of %d: %v, want -1 and %v", share, n, got, want)
			}
		}
	}
}

// TestAddDifferent compares elements of several widths.
func TestAddDifferent(t *testing.T) {
	r := rand.New(rand.NewPCG(52, 52))
	for _, width := range []int{1, 2, 4, 8} {
		for n := range 150 {
			a, b := make([]byte, n*width), make([]byte, n*width)
			var s, want rowSet
			s.begin(n)
			want.begin(n)
			for range n / 10 {
				j := r.IntN(n)
				b[j*width+r.IntN(width)] = 1
				want.add(j)
			}
			if s.addDifferent(a, b, width); !slices.Equal(s, want) {
				t.Fatalf("%d elements of %d bytes: %x, want %x", n, width, s, want)
			}
		}
	}
}
