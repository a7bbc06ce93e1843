package cpu

import (
	"fmt"
	"github.com/loratool/loratool/internal/linalg"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// Every implementation that the processor has computes the bits of the loops
// in Go, on rows with and without a rest, with zeros, infinities and NaN.
func TestKernels(t *testing.T) {
	for i := generic + 1; i <= best(); i++ {
		for _, n := range []int{0, 1, 15, 16, 17, 64, 100} {
			for _, odd := range []bool{false, true} {
				want, got := kernelResults(generic, n, odd), kernelResults(i, n, odd)
				for name, w := range want {
					if !slices.Equal(got[name], w) {
						t.Errorf("%s of %d values, implementation %d: %x, want %x", name, n, i, got[name], w)
					}
				}
			}
		}
	}
}

// kernelResults returns the bits that each kernel computes, NaN as one value.
func kernelResults(i isa, n int, odd bool) map[string][]uint32 {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	row := func() []float32 {
		x := make([]float32, n)
		for j := range x {
			x[j] = float32(r.NormFloat64())
			if odd && j%7 == 3 {
				x[j] = []float32{0, float32(math.Copysign(0, -1)), float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN())}[r.IntN(5)]
			}
		}
		return x
	}
	a, b, c, d := row(), row(), row(), row()
	all := map[string][]uint32{}
	kernel := func(name string, f func(a, b, c, d []float32)) {
		rows := [][]float32{slices.Clone(a), slices.Clone(b), slices.Clone(c), slices.Clone(d)}
		f(rows[0], rows[1], rows[2], rows[3])
		for k, x := range rows {
			all[fmt.Sprint(name, k)] = bitsOf(x)
		}
	}
	kernel("addScaled", func(a, b, _, _ []float32) { i.addScaled(a, b, 0.3) })
	kernel("scale", func(a, _, _, _ []float32) { i.scale(a, 0.3) })
	kernel("gate", func(a, b, c, _ []float32) { i.gate(a, b, c) })
	kernel("gateGrad", i.gateGrad)
	kernel("normalise", func(a, b, c, _ []float32) { i.normalise(a, b, c, 0.1, 0.7) })
	kernel("normGrad", func(a, b, c, d []float32) { i.normGrad(a, b, c, d, 0.1, 0.7, 0.2, 0.3) })
	kernel("rotate", func(a, b, c, d []float32) { i.rotate(a, b, c, d, -1) })
	kernel("scoreGrad", func(a, b, _, _ []float32) { i.scoreGrad(a, b, 0.1, 0.7, 0.2) })
	kernel("adam", func(a, b, c, d []float32) {
		n := adamNumbers{0.999, 0.5, 0.1, 0.999, 0.001, 0.03, 1e-8, 1e-3}
		n.row(i, a, b, c, d)
	})
	all["most"] = bitsOf([]float32{i.most(a)})
	all["dot"] = bitsOf([]float32{i.dot(a, b)})
	all["dotWide"] = bitsOf([]float32{float32(i.dotWide(a, b))})
	all["normSum"] = bitsOf([]float32{float32(i.normSum(a, b, c, 0.1, 0.7))})
	return all
}

func bitsOf(x []float32) []uint32 {
	y := make([]uint32, len(x))
	for j, v := range x {
		y[j] = math.Float32bits(v)
		if v != v {
			y[j] = 0x7fc00000
		}
	}
	return y
}

// The name that linalg reports must be one that is known here.
func TestBest(t *testing.T) {
	if name := linalg.Kernel(); (best() == generic) != (name == "generic") {
		t.Errorf("kernels %d beside %s of linalg", best(), name)
	}
}
