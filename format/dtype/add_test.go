package dtype

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestAddRound compares every implementation with the scalar one, bit for bit,
// and that one with exact arithmetic: float64 holds w + delta exactly for the
// values here.
func TestAddRound(t *testing.T) {
	for _, d := range []DType{BF16, F16} {
		r := rand.New(rand.NewPCG(1, uint64(d)))
		for _, n := range []int{0, 1, 15, 16, 17, 100, 1024, 1031} {
			src, delta := make([]byte, 2*n), make([]float32, n)
			values := make([]float32, n)
			for i := range values {
				values[i] = float32(r.NormFloat64()) * float32(math.Exp2(float64(r.IntN(20)-10)))
				delta[i] = float32(r.NormFloat64()) * 0x1p-9 * values[i]
				if r.IntN(8) == 0 {
					delta[i] = 0
				}
			}
			d.Encode32(src, values)
			const e = 0x1p-30
			var want Lanes
			out, doubtful := make([]byte, 2*n), make([]uint16, (n+15)/16)
			changed := d.addRound(out, src, delta, e, doubtful, &want)
			for _, k := range all() {
				var got Lanes
				gotOut, gotDoubtful := make([]byte, 2*n), make([]uint16, (n+15)/16)
				gotChanged := d.addRoundBy(k, gotOut, src, delta, e, gotDoubtful, &got)
				if string(gotOut) != string(out) || got != want || gotChanged != changed {
					t.Fatalf("%v, n = %d: %s differs from the scalar code", d, n, k.name)
				}
				for i, x := range gotDoubtful {
					if x != doubtful[i] {
						t.Fatalf("%v, n = %d: %s: doubtful[%d] = %x, want %x", d, n, k.name, i, x, doubtful[i])
					}
				}
			}
			d.Decode32(values, src)
			right := make([]byte, 2)
			for i, w := range values {
				if doubtful[i/16]>>(i%16)&1 == 1 {
					continue
				}
				d.Encode64(right, []float64{float64(w) + float64(delta[i])})
				if string(right) != string(out[2*i:2*i+2]) {
					t.Errorf("%v: %g + %g is %x, not %x", d, w, delta[i], right, out[2*i:2*i+2])
				}
			}
		}
	}
}

// TestAddRoundNotFinite: whatever is not finite shows in the sums.
func TestAddRoundNotFinite(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, d := range []DType{BF16, F16} {
		for _, k := range all() {
			most := float32(d.MaxFinite())
			for _, c := range [][2]float32{{inf, 0}, {-inf, 0}, {nan, 0}, {0, inf}, {0, nan}, {most, most}} {
				values, delta := make([]float32, 32), make([]float32, 32)
				values[19], delta[19] = c[0], c[1]
				src := make([]byte, 64)
				d.Encode32(src, values)
				var sums Lanes
				d.addRoundBy(k, make([]byte, 64), src, delta, 0, make([]uint16, 2), &sums)
				total := float64(0)
				for l := range sums.W2 {
					total += float64(sums.W2[l]) + float64(sums.Dot[l]) + float64(sums.D2[l])
				}
				if !math.IsNaN(total) && !math.IsInf(total, 0) {
					t.Errorf("%v, %s: %g + %g: sum %g", d, k.name, c[0], c[1], total)
				}
			}
		}
	}
}
