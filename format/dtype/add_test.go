package dtype

import (
	"encoding/binary"
	"math"
	"math/big"
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

// TestAddRoundTight puts sums beside ties, by the last bits of float32: what is
// not doubtful stays between the ties around the rounded value for every error
// below e, among subnormals and beside powers of two too.
func TestAddRoundTight(t *testing.T) {
	for _, d := range []DType{BF16, F16} {
		r := rand.New(rand.NewPCG(2, uint64(d)))
		most := d.bits16(d.MaxFinite())
		const n = 4096
		src, delta, values := make([]byte, 2*n), make([]float32, n), make([]float32, n)
		for _, e := range []float32{0, 0x1p-149, 0x1p-140, 0x1p-40, 0x1p-16} {
			for i := range delta {
				h := uint16(r.IntN(int(most)))
				if r.IntN(4) == 0 { // a power of two
					h &^= 1<<7 - 1
				}
				w := h ^ uint16(r.IntN(4)<<r.IntN(9))&0x7fff
				if w > most {
					w = h
				}
				sign := uint16(r.IntN(2) << 15)
				binary.LittleEndian.PutUint16(src[2*i:], w|sign)
				tie := (float64(d.half32(h)) + float64(d.half32(h+1))) / 2
				x := float32(tie) - d.half32(w)
				x = math.Float32frombits(math.Float32bits(x) + r.Uint32N(17) - 8)
				delta[i] = math.Float32frombits(math.Float32bits(x) ^ uint32(sign)<<16)
			}
			d.Decode32(values, src)
			var sums Lanes
			out, doubtful := make([]byte, 2*n), make([]uint16, n/16)
			d.addRound(out, src, delta, e, doubtful, &sums)
			decided := 0
			for i, w := range values {
				if doubtful[i/16]>>(i%16)&1 == 1 {
					continue
				}
				decided++
				if !d.between(binary.LittleEndian.Uint16(out[2*i:]), w, delta[i], e) {
					t.Errorf("%v: %g + %g within %g is not always %x", d, w, delta[i], e, out[2*i:2*i+2])
				}
			}
			if decided < n/100 {
				t.Errorf("%v: of %d sums within %g only %d are decided", d, n, e, decided)
			}
		}
	}
}

// bits16 encodes a value of BF16 or F16.
func (d DType) bits16(x float64) uint16 {
	b := make([]byte, 2)
	d.Encode64(b, []float64{x})
	return binary.LittleEndian.Uint16(b)
}

// between reports whether all sums w+x±e have the sign of h and lie between the
// ties around it.
func (d DType) between(h uint16, w, x, e float32) bool {
	exact := func(x float64) *big.Float { return new(big.Float).SetPrec(600).SetFloat64(x) }
	sum := exact(float64(w))
	sum.Add(sum, exact(float64(x)))
	if h>>15 == 1 {
		sum.Neg(sum)
		h &= 1<<15 - 1
	}
	low, high := exact(0), exact(0)
	if h > 0 {
		low.Quo(low.Add(exact(float64(d.half32(h-1))), exact(float64(d.half32(h)))), exact(2))
	}
	if next := d.half32(h + 1); next-next == 0 {
		high.Quo(high.Add(exact(float64(d.half32(h))), exact(float64(next))), exact(2))
	} else {
		high.SetInf(false)
	}
	bound := exact(float64(e))
	return low.Cmp(new(big.Float).Sub(sum, bound)) <= 0 && high.Cmp(sum.Add(sum, bound)) >= 0
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
