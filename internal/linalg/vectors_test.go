package linalg

import (
	"fmt"
	"math"
	"math/big"
	"testing"
)

var lengths = []int{0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 100, 1023, 1024, 1025, 2048, 3001}

func TestAddBounds(t *testing.T) {
	onAll(t,
		func(t *testing.T, i isa) { testAddBounds(t, i, addBounds32) },
		func(t *testing.T, i isa) { testAddBounds(t, i, addBounds64) })
}

func testAddBounds[T Float](t *testing.T, i isa, f func(i isa, lo, hi, w, d []T, e T)) {
	for _, n := range lengths {
		w, d := mixed[T](n, 1), mixed[T](n, 2)
		lo, hi := make([]T, n+1), make([]T, n+1)
		wantLo, wantHi := make([]T, n+1), make([]T, n+1)
		for _, e := range []T{0, 0x1p-20, T(math.Inf(1))} {
			f(i, lo[:n], hi[:n], w, d, e)
			addBoundsGeneric(wantLo[:n], wantHi[:n], w, d, e)
			sameBits(t, fmt.Sprint("lo ", n), lo, wantLo)
			sameBits(t, fmt.Sprint("hi ", n), hi, wantHi)
			inPlaceLo, inPlaceHi := append([]T(nil), w...), append([]T(nil), d...)
			f(i, inPlaceLo, inPlaceHi, inPlaceLo, inPlaceHi, e)
			sameBits(t, fmt.Sprint("lo in place ", n), inPlaceLo, wantLo[:n])
			sameBits(t, fmt.Sprint("hi in place ", n), inPlaceHi, wantHi[:n])
		}
	}
}

// TestAddBoundsEnclose checks the purpose: lo ≤ w + (d ± e) ≤ hi, exactly.
func TestAddBoundsEnclose(t *testing.T) {
	onAll(t,
		func(t *testing.T, i isa) { testEnclose(t, i, addBounds32) },
		func(t *testing.T, i isa) { testEnclose(t, i, addBounds64) })
}

func testEnclose[T Float](t *testing.T, i isa, f func(i isa, lo, hi, w, d []T, e T)) {
	const n = 2000
	w, d := random[T](1, n, 1).Data, random[T](1, n, 2).Data
	lo, hi := make([]T, n), make([]T, n)
	for _, e := range []T{0, 0x1p-40, 0x1p-10} {
		f(i, lo, hi, w, d, e)
		for j := range w {
			s := new(big.Float).SetPrec(200).Add(big.NewFloat(float64(w[j])), big.NewFloat(float64(d[j])))
			below := new(big.Float).Sub(s, big.NewFloat(float64(e)))
			above := new(big.Float).Add(s, big.NewFloat(float64(e)))
			if big.NewFloat(float64(lo[j])).Cmp(below) > 0 || big.NewFloat(float64(hi[j])).Cmp(above) < 0 {
				t.Fatalf("%x + %x ± %x is not in [%x, %x]", float64(w[j]), float64(d[j]), float64(e), float64(lo[j]), float64(hi[j]))
			}
		}
	}
}

// mixed returns n elements of which some are special.
func mixed[T Float](n int, seed uint64) []T {
	special := []float64{0, math.Copysign(0, -1), 0x1p-140, -0x1p-149, 0x1p127, -0x1p127, math.Inf(1), math.Inf(-1), math.NaN()}
	v := random[T](1, n, seed).Data
	for i := range v {
		if k := i * int(seed) % 23; k < len(special) {
			v[i] = T(special[k])
		}
	}
	return v
}

func TestUpdateSameBits(t *testing.T) {
	onAll(t, testUpdateSameBits[float32], testUpdateSameBits[float64])
}

func testUpdateSameBits[T Float](t *testing.T, i isa) {
	for _, n := range lengths {
		for name, fill := range map[string]func(n int, seed uint64) []T{
			"normal":  func(n int, seed uint64) []T { return random[T](1, n, seed).Data },
			"special": mixed[T],
			"huge":    func(n int, seed uint64) []T { return scaled[T](n, seed, 0x1p100) },
			"tiny":    func(n int, seed uint64) []T { return scaled[T](n, seed, 0x1p-80) },
		} {
			w, d := fill(n, 1), fill(n, 2)
			merged := append([]T(nil), w...)
			for j := 0; j < n; j += 3 {
				merged[j] += d[j]
			}
			got, want := update(i, w, merged, d), update(generic, w, merged, d)
			sameBits(t, fmt.Sprint(name, n), []float64{got.W2, got.D2, got.Dot}, []float64{want.W2, want.D2, want.Dot})
			if got.Changed != want.Changed {
				t.Fatalf("%s %d: %d changed, want %d", name, n, got.Changed, want.Changed)
			}
		}
	}
}

func scaled[T Float](n int, seed uint64, by float64) []T {
	v := random[T](1, n, seed).Data
	for i := range v {
		v[i] *= T(by)
	}
	return v
}

// TestUpdate compares with sums in float64, within the bound for lanes of
// chunk/lanes32 terms: 64·2^-24·Σ|terms|, and one more rounding for merged-w.
func TestUpdate(t *testing.T) { onAll(t, testUpdate[float32], testUpdate[float64]) }

func testUpdate[T Float](t *testing.T, i isa) {
	for _, n := range lengths {
		w, d := random[T](1, n, 1).Data, random[T](1, n, 2).Data
		merged := append([]T(nil), w...)
		var want Sums
		var size float64
		for j := range w {
			if j%3 != 0 {
				merged[j] += d[j] / 8
			}
			if merged[j] != w[j] {
				want.Changed++
			}
			want.W2 += float64(float64(w[j]) * float64(w[j]))
			want.D2 += float64(float64(d[j]) * float64(d[j]))
			p := (float64(merged[j]) - float64(w[j])) * float64(d[j])
			want.Dot, size = want.Dot+p, size+math.Abs(p)
		}
		got := update(i, w, merged, d)
		const bound = 66 * 0x1p-24
		if math.Abs(got.W2-want.W2) > bound*want.W2 || math.Abs(got.D2-want.D2) > bound*want.D2 ||
			math.Abs(got.Dot-want.Dot) > bound*size || got.Changed != want.Changed {
			t.Errorf("n = %d: got %+v, want %+v", n, got, want)
		}
	}
}

// TestUpdateChanged: -0 is not 0, and a NaN is itself.
func TestUpdateChanged(t *testing.T) {
	nan, negative := float32(math.NaN()), float32(math.Copysign(0, -1))
	w := []float32{0, 0, nan, 1, 2}
	merged := []float32{0, negative, nan, 1, 3}
	if s := Update32(w, merged, make([]float32, 5)); s.Changed != 2 {
		t.Errorf("changed = %d, want 2", s.Changed)
	}
}

// TestUpdateOverflow: squares that do not fit float32.
func TestUpdateOverflow(t *testing.T) {
	w := []float32{0x1p100, 0x1p100, 3}
	s := Update32(w, []float32{0x1p100, 0, 3}, []float32{0, 0x1p100, 1})
	if want := (Sums{W2: 0x1p201 + 9, Dot: -0x1p200, D2: 0x1p200 + 1, Changed: 1}); s != want {
		t.Errorf("got %+v, want %+v", s, want)
	}
}
