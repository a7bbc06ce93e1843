package merge

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/safetensors"
	"github.com/loratool/loratool/testdata/fixture"
)

// narrow are the dtypes that stochastic rounding rounds to; F64 is rounded to
// nearest.
var narrow = []dtype.DType{dtype.BF16, dtype.F16, dtype.F32, dtype.F8_E4M3, dtype.F8_E5M2}

func valueOf(d dtype.DType, bits uint64) float64 {
	var b [8]byte
	var x [1]float64
	b8 := b[:d.Bits()/8]
	putBits(b8, bits)
	d.Decode64(x[:], b8)
	return x[0]
}

// TestStochasticNeighbours rounds values of every size and checks what the
// definition says: exact values stay, others become a neighbour, a larger
// uniform number never gives a value farther from zero, and a larger value
// never a smaller one.
func TestStochasticNeighbours(t *testing.T) {
	for _, d := range narrow {
		t.Run(d.String(), func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, uint64(d)))
			rounder := newRandomRounder(d)
			for range 20_000 {
				x := math.Ldexp(r.NormFloat64(), r.IntN(60)-40)
				if r.IntN(4) == 0 { // near the smallest values
					x = r.NormFloat64() * valueOf(d, 1) * 3
				}
				n := r.Uint32N(1 << uniformBits)
				checkRounded(t, d, x, n, rounder.round(x, n))
				checkMonotone(t, d, &rounder, x, n)
			}
		})
	}
}

func checkRounded(t *testing.T, d dtype.DType, x float64, n uint32, bits uint64) {
	t.Helper()
	got := valueOf(d, bits)
	low, high, _, _ := d.Neighbours(x)
	if math.Abs(x) > d.MaxFinite() {
		low, high = math.Copysign(d.MaxFinite(), x), math.Copysign(d.MaxFinite(), x)
	}
	if got != low && got != high {
		t.Fatalf("%g became %g, the neighbours are %g and %g", x, got, low, high)
	}
	if math.Signbit(got) != math.Signbit(x) && (got != 0 || d == dtype.F8_E4M3FNUZ) {
		t.Fatalf("%g became %g", x, got)
	}
	if u := uniform(n); low < high { // away from zero if the distance from the other neighbour is above u
		away := math.Abs(x)-min(math.Abs(low), math.Abs(high)) > u*(high-low)
		if away != (math.Abs(got) == max(math.Abs(low), math.Abs(high))) {
			t.Fatalf("%g with u %g became %g, between %g and %g", x, u, got, low, high)
		}
	}
}

func checkMonotone(t *testing.T, d dtype.DType, r *randomRounder, x float64, n uint32) {
	t.Helper()
	next := x + math.Abs(x)*0x1p-12
	if a, b := valueOf(d, r.round(x, n)), valueOf(d, r.round(next, n)); a > b {
		t.Fatalf("%g became %g, but %g became %g", x, a, next, b)
	}
	if m := n / 2; math.Abs(valueOf(d, r.round(x, m))) < math.Abs(valueOf(d, r.round(x, n))) {
		t.Fatalf("%g is farther from zero with u %d than with %d", x, n, m)
	}
}

// TestStochasticSpecialValues rounds what has no two neighbours.
func TestStochasticSpecialValues(t *testing.T) {
	for _, d := range narrow {
		rounder := newRandomRounder(d)
		top := d.MaxFinite()
		for _, x := range []float64{0, math.Copysign(0, -1), top, -top, valueOf(d, 1), -valueOf(d, 1), 1, -1.5} {
			for _, n := range []uint32{0, 1, 1<<uniformBits - 1} {
				if got := valueOf(d, rounder.round(x, n)); got != x || math.Signbit(got) != math.Signbit(x) {
					t.Errorf("%v: %g became %g", d, x, got)
				}
			}
		}
		for _, x := range []float64{top * 1.0001, -top * 1.0001} { // as to nearest
			if got := valueOf(d, rounder.round(x, 0)); got != math.Copysign(top, x) {
				t.Errorf("%v: %g became %g", d, x, got)
			}
		}
	}
}

// TestStochasticExactly compares the rounding of sums that float64 cannot hold
// with that of the same sums rounded to float64, where those decide.
func TestStochasticExactly(t *testing.T) {
	for _, d := range narrow {
		r := rand.New(rand.NewPCG(4, uint64(d)))
		for range 5000 {
			x := math.Ldexp(r.NormFloat64(), r.IntN(20)-10)
			u := uniform(r.Uint32N(1 << uniformBits))
			tiny := math.Ldexp(r.NormFloat64(), -120)
			sum := new(big.Float).SetPrec(exactBits).SetFloat64(x)
			sum.Add(sum, new(big.Float).SetFloat64(tiny))
			got, want := roundRandomExact(d, sum, u), roundRandom(d, x, u)
			low, high, _, _ := d.Neighbours(x)
			if low == high || math.Abs(math.Abs(x)-min(math.Abs(low), math.Abs(high))-u*(high-low)) < 1e-25 {
				continue // the tiny part decides
			}
			if got != want {
				t.Fatalf("%v: %g + %g with u %g became %g, want %g", d, x, tiny, u, valueOf(d, got), valueOf(d, want))
			}
		}
	}
}

// TestStochasticIsUnbiased merges one delta into a constant tensor. The number
// of elements that go up is binomial; seven standard deviations are passed by
// chance once in 10^11 runs, and the seed is fixed besides.
func TestStochasticIsUnbiased(t *testing.T) {
	const n = 256
	for _, d := range narrow {
		for _, fraction := range []float64{0.03, 0.5, 0.9375} {
			for _, seed := range []uint64{0, 1, 1 << 60} {
				t.Run(fmt.Sprintf("%v/%v/%d", d, fraction, seed), func(t *testing.T) {
					_, step, _, _ := d.Neighbours(1.0000001)
					up, total := countUp(t, d, n, (step-1)*fraction, seed)
					mean, deviation := fraction*float64(total), math.Sqrt(float64(total)*fraction*(1-fraction))
					if math.Abs(float64(up)-mean) > 7*deviation {
						t.Errorf("%d of %d went up, expected %.0f ± %.0f", up, total, mean, deviation)
					}
				})
			}
		}
	}
}

// countUp adds delta to every element of an [n, n] tensor of ones and counts
// those that did not stay.
func countUp(t *testing.T, d dtype.DType, n int, delta float64, seed uint64) (up, total int) {
	t.Helper()
	constant := func(d dtype.DType, x float64, shape ...int) safetensors.NamedData {
		v := make([]float64, shape[0]*shape[1])
		for i := range v {
			v[i] = x
		}
		data := make([]byte, len(v)*d.Bits()/8)
		d.Encode64(data, v)
		return safetensors.NamedData{DType: d, Shape: shape, Data: data}
	}
	base := filepath.Join(t.TempDir(), "base.safetensors")
	fixture.Write(t, base, named("x.weight", constant(d, 1, n, n)))
	adapter := writeAdapter(t, map[string]any{"r": 1, "lora_alpha": 1}, named("x.lora_A.weight", constant(dtype.F64, delta, 1, n)), named("x.lora_B.weight", constant(dtype.F32, 1, n, 1)))
	f, r, err := mergeFile(t, Options{Rounding: Stochastic, Seed: seed}, base, adapter)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range floats(tensorOf(t, f, "x.weight")) {
		if x != 1 {
			up++
		}
	}
	if r.Total.Changed != up {
		t.Errorf("the report counts %d changed elements, want %d", r.Total.Changed, up)
	}
	return up, n * n
}

// TestStochasticOverflow refuses what nearest refuses, and saturates where
// nearest does.
func TestStochasticOverflow(t *testing.T) {
	for _, c := range []struct {
		delta float64
		fails bool
	}{{8, false}, {15, false}, {17, true}, {1e9, true}, {-1e9, true}} {
		w := safetensors.NamedData{Name: "x.weight", DType: dtype.F16, Shape: []int{1, 1}, Data: []byte{0xff, 0x7b}} // 65504
		if c.delta < 0 {
			w.Data[1] |= 0x80
		}
		a, b := values(rand.New(rand.NewPCG(0, 0)), dtype.F64, 0, 1, 1), values(rand.New(rand.NewPCG(0, 0)), dtype.F64, 0, 1, 1)
		dtype.F64.Encode64(a.Data, []float64{c.delta})
		dtype.F64.Encode64(b.Data, []float64{1})
		for _, rounding := range []Rounding{Nearest, Stochastic} {
			base := filepath.Join(t.TempDir(), "base.safetensors")
			fixture.Write(t, base, w)
			f, _, err := mergeFile(t, Options{Rounding: rounding}, base, writeAdapter(t, map[string]any{"r": 1, "lora_alpha": 1}, named("x.lora_A.weight", a), named("x.lora_B.weight", b)))
			if got := verdict(err); c.fails && got != "AD045" || !c.fails && got != "accept" {
				t.Errorf("65504 + %g, rounding %d: %s, want failure %v", c.delta, rounding, got, c.fails)
			} else if err == nil {
				if x := floats(tensorOf(t, f, "x.weight"))[0]; x != 65504 {
					t.Errorf("65504 + %g, rounding %d: %g", c.delta, rounding, x)
				}
			}
		}
	}
}
