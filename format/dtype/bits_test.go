package dtype

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestCoarser compares the lanes with the definition, for all pairs of FP8 and
// random ones of the others.
func TestCoarser(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	for _, d := range []DType{F8_E4M3, F8_E5M2, F16, BF16, F32, F64} {
		l := d.float()
		for n := range 70 {
			a, b := make([]byte, n*l.width), make([]byte, n*l.width)
			var want []int32
			for i := range n {
				x, y := r.Uint64()>>(64-d.Bits()), r.Uint64()>>(64-d.Bits())
				if i%5 == 0 {
					x &= l.sign // zeros
				}
				if i%7 == 0 {
					x = x >> uint(l.mantissa) << uint(l.mantissa)
				}
				if i%3 == 0 {
					y = x ^ r.Uint64()&(l.sign>>2)
				}
				for k := range l.width {
					a[i*l.width+k], b[i*l.width+k] = byte(x>>(8*k)), byte(y>>(8*k))
				}
				mx, my := x&(l.sign-1), y&(l.sign-1)
				if mx == 0 || (mx-1)>>uint(l.mantissa) < my>>uint(l.mantissa) {
					want = append(want, int32(i))
				}
			}
			if got := d.Coarser(nil, a, b); !slices.Equal(got, want) {
				t.Fatalf("%v, %d elements: got %v, want %v", d, n, got, want)
			}
		}
	}
}
