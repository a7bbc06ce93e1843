package dtype

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestCoarser compares every implementation with the definition, for random
// values, zeros and powers of two.
func TestCoarser(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	for _, d := range []DType{F8_E4M3, F8_E5M2, F16, BF16, F32, F64} {
		l := d.float()
		for n := range 150 {
			a, b := make([]byte, n*l.width), make([]byte, n*l.width)
			want := make([]uint16, (n+15)/16)
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
					want[i/16] |= 1 << (i % 16)
				}
			}
			for _, k := range all() {
				got := make([]uint16, (n+15)/16)
				if n > 0 {
					got[0], want[0] = 1, want[0]|1 // what is set stays
				}
				if d.coarserBy(k, got, a, b); !slices.Equal(got, want) {
					t.Fatalf("%v, %s, %d elements: got %x, want %x", d, k.name, n, got, want)
				}
			}
		}
	}
}

// TestAtLeast compares with the definition, for few and many such elements.
func TestAtLeast(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 6))
	for _, d := range []DType{F8_E4M3, F8_E5M2, F16, BF16, F32, F64} {
		l := d.float()
		for n := range 150 {
			m := 1 + r.Uint64N(l.sign-1)
			src, want := make([]byte, 0, n*l.width), make([]uint16, (n+15)/16)
			for i := range n {
				x := r.Uint64N(m)
				if r.IntN(1+n%40) == 0 {
					x = m + r.Uint64N(l.sign-m)
					want[i/16] |= 1 << (i % 16)
				}
				src = append(src, fileBytes(d, x|l.sign*r.Uint64N(2))...)
			}
			got := make([]uint16, len(want))
			if d.AtLeast(got, src, m); !slices.Equal(got, want) {
				t.Fatalf("%v, %d elements from %#x: %x, want %x", d, n, m, got, want)
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

// TestPreimages compares every implementation with Ceil and Floor, around
// powers of two, zero and the largest values, and what is unclear with what may
// be.
func TestPreimages(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	for _, d := range []DType{F16, BF16} {
		g, p := d.Grid(), d.Preimager()
		clear := 0
		for n := range 2000 {
			n %= 70
			halves, x := make([]uint16, n), make([]float64, n)
			e := math.Ldexp(r.Float64(), -r.IntN(60))
			for i := range n {
				m := r.Uint64N(1 << 15)
				if r.IntN(2) == 0 {
					m = m >> uint(d.float().mantissa) << uint(d.float().mantissa)
				}
				low, high := g.Around(min(m, d.MaxMagnitude()))
				halves[i], x[i] = uint16(m|r.Uint64N(2)<<15), (r.Float64()*4-2)*(high-low)
			}
			want := make([]Range, n)
			p.find(want, halves, x, e)
			for _, k := range all() {
				got := make([]Range, n)
				if p.findBy(k, got, halves, x, e); !slices.Equal(got, want) {
					t.Fatalf("%v, %s: halves %x, numbers %g ± %g: %v, want %v", d, k.name, halves, x, e, got, want)
				}
			}
			for i, got := range want {
				if certain := checkPreimages(t, d, &g, halves[i], x[i], e, got); certain {
					clear++
				}
			}
		}
		if clear < 10000 {
			t.Errorf("%v: %d of 69000 ranges were found", d, clear)
		}
	}
}

// checkPreimages compares a range with what the grid says, and reports whether
// it was found.
func checkPreimages(t *testing.T, d DType, g *Grid, half uint16, x, e float64, got Range) bool {
	t.Helper()
	m := uint64(half & 0x7fff)
	if got == Unclear {
		return false
	}
	if m > d.MaxMagnitude() {
		t.Fatalf("%v: preimages %v of %#x", d, got, half)
	}
	low, high := g.Around(m)
	if half>>15 != 0 {
		low, high = -high, -low
	}
	for _, x := range []float64{x - e, x, x + e} {
		want := Range{int16(g.Ceil(low - x)), int16(g.Floor(high - x))}
		if want != got && !(want.First > want.Last && got == Range{1, 0}) {
			t.Fatalf("%v: preimages %v of %#x with %g, want %v", d, got, half, x, want)
		}
	}
	return true
}
