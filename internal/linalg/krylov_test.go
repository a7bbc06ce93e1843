package linalg

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// spectral returns a rows×cols matrix of float32 with the given singular
// values, up to rounding, made from random orthonormal vectors.
func spectral(r *rand.Rand, rows, cols int, values []float64) Mat[float32] {
	n := len(values)
	u, v := Dense(make([]float32, n*rows), n, rows), Dense(make([]float32, n*cols), n, cols)
	for _, m := range []Mat[float32]{u, v} {
		for i := range m.Data {
			m.Data[i] = float32(r.NormFloat64())
		}
		Orthonormalize(m)
	}
	for i, s := range values {
		for j := range rows {
			u.Data[i*rows+j] *= float32(s)
		}
	}
	x := Dense(make([]float32, rows*cols), rows, cols)
	ParallelGemm(2, x, u.T(), v, false)
	return x
}

func TestTmpKrylov(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	n := 512
	spectra := map[string]func(i int) float64{
		"i^-0.5": func(i int) float64 { return math.Pow(float64(i), -.5) },
		"i^-1":   func(i int) float64 { return 1 / float64(i) },
		"exp40":  func(i int) float64 { return math.Exp(-float64(i) / 40) },
		"spiked": func(i int) float64 { if i <= 16 { return 1 }; return .05 },
		"flat":   func(i int) float64 { return 1 },
		"clusters": func(i int) float64 { return math.Pow(2, -float64((i-1)/10)) },
		"marchenko": nil,
	}
	for name, f := range spectra {
		for _, sh := range [][2]int{{n, n}} {
			values := make([]float64, min(sh[0], sh[1]))
			var x Mat[float32]
			if f == nil {
				x = Dense(make([]float32, sh[0]*sh[1]), sh[0], sh[1])
				for i := range x.Data { x.Data[i] = float32(r.NormFloat64()) }
				// exact by complete basis
				k := NewKrylov(InMemory(x), 128, 2, 1, 1)
				for !k.Complete() { k.Grow() }
				for i, v := range k.Squares() { values[i] = math.Sqrt(v) }
			} else {
				for i := range values { values[i] = f(i + 1) }
				x = spectral(r, sh[0], sh[1], values)
			}
			total := 0.0
			for _, v := range x.Data { total += float64(v) * float64(v) }
			for _, rank := range []int{4, 16, 32, 64, 128} {
				opt := total
				for i := range rank { opt -= values[i] * values[i] }
				for _, b := range []int{24, 48, 72, 96, 144, 192} {
					if b < rank/2 || b>4*rank+48 { continue }
					k := NewKrylov(InMemory(x), b, 2, 1, 1)
					s := fmt.Sprintf("%s %v r=%d b=%d:", name, sh, rank, b)
					for range 5 {
						k.Grow()
						if k.Size() < rank { continue }
						e := total
						for i := range rank { e -= k.Squares()[i] }
						s += fmt.Sprintf(" [%d] %.5f", k.Size(), math.Sqrt(max(e, 0)/opt))
					}
					fmt.Println(s)
				}
			}
		}
	}
	for _, n := range []int{48, 96, 144, 192, 384} {
		x := Dense(make([]float32, n*600), n, 600)
		for i := range x.Data { x.Data[i] = float32(r.NormFloat64()) }
		k := &Krylov{size: n, gram: gramOf(x, x)}
		s := time.Now()
		k.ritz()
		fmt.Println("eig", n, time.Since(s))
	}
}
