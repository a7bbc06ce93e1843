package dtype

import (
	"math"
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

// TestGrid compares every value of the 8- and 16-bit dtypes, and what lies
// between, with the table.
func TestGrid(t *testing.T) {
	for _, d := range []DType{F8_E4M3, F8_E5M2, F8_E4M3FNUZ, F16, BF16} {
		g, most := d.Grid(), d.MaxMagnitude()
		for m := range most + 1 {
			n := int64(m)
			v := d.Value(m)
			if g.Value(m) != v {
				t.Fatalf("%v: value of %#x = %g, want %g", d, m, g.Value(m), v)
			}
			if m == 0 {
				if g.Ceil(0) != -1 || g.Floor(0) != 0 {
					t.Fatalf("%v: zero from %d to %d", d, g.Ceil(0), g.Floor(0))
				}
			} else if g.Ceil(v) != n || g.Floor(v) != n || g.Ceil(-v) != -n-1 || g.Floor(-v) != -n-1 {
				t.Fatalf("%v: %g is from %d to %d", d, v, g.Ceil(v), g.Floor(v))
			}
			h := g.After(m)
			if m < most && h-v != d.Value(m+1)-h || m == most && h-v != v-g.After(m-1) {
				t.Fatalf("%v: after %g comes %g", d, v, h)
			}
			if g.Ceil(h) != n+1 || g.Floor(h) != n || g.Ceil(-h) != -n-1 || g.Floor(-h) != -n-2 && m < most {
				t.Fatalf("%v: %g lies between %d and %d", d, h, g.Floor(h), g.Ceil(h))
			}
		}
		if inf := math.Inf(1); g.Ceil(inf) != int64(most)+1 || g.Floor(inf) != int64(most) || g.Ceil(-inf) != -int64(most)-1 {
			t.Fatalf("%v: infinity", d)
		}
	}
}
