package linalg

import (
	"fmt"
	"math"
)

// AddBounds32 encloses w + d, where d may be wrong by e and the sum by its
// rounding. For each element it computes, in float32,
//
//	t = w + d,  m = fma(|t|, 2^-22, e),  lo = t - m,  hi = t + m
//
// The slices have one length; lo and hi may be the same memory as w and d.
func AddBounds32(lo, hi, w, d []float32, e float32) {
	checkLengths(len(lo), len(hi), len(w), len(d))
	addBounds32(best(), lo, hi, w, d, e)
}

// AddBounds64 is [AddBounds32] in float64, with m = fma(|t|, 2^-51, e).
func AddBounds64(lo, hi, w, d []float64, e float64) {
	checkLengths(len(lo), len(hi), len(w), len(d))
	addBounds64(best(), lo, hi, w, d, e)
}

func checkLengths(n int, others ...int) {
	for _, m := range others {
		if m != n {
			panic(fmt.Sprintf("linalg: vectors of %d and %d elements", n, m))
		}
	}
}

func addBoundsGeneric[T Float](lo, hi, w, d []T, e T) {
	scale := T(0x1p-51)
	if narrow[T]() {
		scale = T(0x1p-22)
	}
	for i := range lo {
		t := w[i] + d[i]
		m := fma(T(math.Abs(float64(t))), scale, e)
		lo[i], hi[i] = t-m, t+m
	}
}
