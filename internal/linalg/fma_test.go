package linalg

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// hard32 is operands where rounding a float64 sum to float32 goes wrong, and
// the special values.
var hard32 = []float32{
	0, float32(math.Copysign(0, -1)), 1, -1, 1 + 0x1p-23, 1 + 0x1p-12, 1 - 0x1p-24, 0x1p-24, -0x1p-24, 0x1p-25,
	0x1p-48, -0x1p-48, 0x1p-54, 0x1p-60, -0x1p-60, 3, 0x1.8p-30, 0x1p-63, 0x1.fffffep-64, 0x1p-75, -0x1p-75,
	0x1p-126, 0x1p-127, 0x1.fffffep-127, 0x1p-149, -0x1p-149, 0x3p-149, 0x1p64, 0x1.000002p63, 0x1p127,
	math.MaxFloat32, -math.MaxFloat32, 0x1.fffffcp127, 0x1p103, 0x1p102, 0x1.fffffep102,
	float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN()),
}

// exactFMA32 returns x·y + z rounded once, by big.Float. All are finite and
// the result is not an exact zero.
func exactFMA32(x, y, z float32) float32 {
	const enough = 1000 // bits: exponents of float32 products span 2·(127+149)+48
	s := new(big.Float).SetPrec(enough).Mul(big.NewFloat(float64(x)), big.NewFloat(float64(y)))
	s.Add(s, big.NewFloat(float64(z)))
	f, _ := s.Float32()
	return f
}

func checkFMA32(t *testing.T, x, y, z float32) {
	t.Helper()
	got := fma32(x, y, z)
	plain := float64(float64(x)*float64(y)) + float64(z)
	want := float32(plain) // right for NaN, Inf and exact zeros
	if plain != 0 && finite(plain) {
		want = exactFMA32(x, y, z)
	}
	if different(got, want) && (got == got || want == want) {
		t.Fatalf("fma32(%x, %x, %x) = %x, want %x", x, y, z, got, want)
	}
}

func TestFMA32Hard(t *testing.T) {
	for _, x := range hard32 {
		for _, y := range hard32 {
			for _, z := range hard32 {
				checkFMA32(t, x, y, z)
			}
		}
	}
}

// TestFMA32Random draws bit patterns with exponents close enough to interact:
// near 1, near the smallest and near the largest.
func TestFMA32Random(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	draw := func(exponent int) float32 {
		bits := r.Uint32() & (1<<23 - 1)
		if r.IntN(2) == 0 {
			bits &= bits << uint(r.IntN(23)) & (1<<23 - 1) // many trailing zeros: ties
		}
		f := math.Ldexp(1+float64(bits)/(1<<23), exponent+r.IntN(60)-30)
		if r.IntN(2) == 0 {
			f = -f
		}
		return float32(f)
	}
	for range 20000 {
		for _, e := range [][3]int{{0, 0, 0}, {-70, -70, -140}, {60, 60, 120}, {-75, -75, -126}} {
			checkFMA32(t, draw(e[0]), draw(e[1]), draw(e[2]))
		}
	}
}
