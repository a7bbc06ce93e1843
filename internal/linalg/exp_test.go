package linalg

import (
	"math"
	"testing"
)

// exponents covers the range of exp, its ends and what lies beyond.
func exponents() []float32 {
	x := []float32{0, float32(math.Copysign(0, -1)), 1, -1, 88, -87, 89, -88, 1e30, -1e30, float32(math.Inf(1)), float32(math.Inf(-1)), 0x1p-149}
	for v := float32(-90); v < 90; v += 0.0137 {
		x = append(x, v)
	}
	return x
}

// An error of 2 units in the last place, 2⁻²² of the value.
func TestExp(t *testing.T) {
	for _, x := range exponents() {
		want := math.Exp(min(88, max(-87, float64(x))))
		if got := float64(exp(x)); math.Abs(got-want) > 0x1p-22*want {
			t.Errorf("exp(%g) = %g, want %g", x, got, want)
		}
	}
	if nan := float32(math.NaN()); exp(nan) == exp(nan) {
		t.Errorf("exp(NaN) = %g", exp(nan))
	}
}

func TestExpSum(t *testing.T) {
	all := exponents()
	for n := range 100 {
		for _, i := range available() {
			x := all[n : 2*n]
			if n == 99 {
				x = all
			}
			want, got := make([]float32, len(x)), make([]float32, len(x))
			var sums [lanes32]float32
			expSumGeneric(want, x, 0.7, 0.3, &sums)
			total := expSum(generic, want, x, 0.7, 0.3)
			if s := expSum(i, got, x, 0.7, 0.3); s != total {
				t.Fatalf("%s, %d values: sum %g, want %g", i, len(x), s, total)
			}
			sameBits(t, i.String(), got, want)
		}
	}
	if x := []float32{1, float32(math.NaN()), 3}; !math.IsNaN(float64(Max(x))) || Max(x[2:]) != 3 || !math.IsInf(float64(Max(nil)), -1) {
		t.Error("Max of NaN, one or no value")
	}
}

func BenchmarkExpSum(b *testing.B) {
	x := random[float32](1, 4096, 1).Data
	y := make([]float32, len(x))
	for b.Loop() {
		ExpSum(y, x, 1, 2)
	}
	b.ReportMetric(float64(b.N)*float64(len(x))/b.Elapsed().Seconds()/1e9, "G/s")
}
