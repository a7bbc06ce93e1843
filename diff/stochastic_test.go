package diff

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/internal/linalg"
	"github.com/loratool/loratool/internal/lowrank"
)

// stochasticPair is pairOf with stochastic rounding of the sum.
func stochasticPair(r *rand.Rand, d dtype.DType, x linalg.Mat[float32]) *delta {
	w := randomMat(r, x.Rows, x.Cols, 0.02).Data
	base, tuned := make([]byte, len(w)*d.Bits()/8), make([]byte, len(w)*d.Bits()/8)
	d.Encode32(base, w)
	d.Decode32(w, base)
	sum := make([]float64, len(w))
	for i, v := range w {
		t := float64(v) + float64(x.Data[i])
		ulp := ulpOf(d, t)
		sum[i] = math.Floor(t/ulp) * ulp
		if r.Float64() < t/ulp-math.Floor(t/ulp) {
			sum[i] += ulp
		}
	}
	d.Encode64(tuned, sum)
	return &delta{base: side{dtype: d, bytes: base}, tuned: side{dtype: d, bytes: tuned}, rows: x.Rows, cols: x.Cols}
}

func findAuto(t *testing.T, d *delta) *truncation {
	t.Helper()
	x := make([]float32, d.rows*d.cols)
	s, err := d.load(2, x)
	if err != nil {
		t.Fatal(err)
	}
	found, err := truncator{workers: 2, maxRank: 256, delta: d}.truncate(linalg.InMemory(linalg.Dense(x, d.rows, d.cols)), "x", lowrank.Auto(), s)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func lowRank(r *rand.Rand, rows, cols, rank int, size float64) linalg.Mat[float32] {
	b, a := randomMat(r, rows, rank, 1), randomMat(r, rank, cols, size/math.Sqrt(float64(rank)))
	x := linalg.Dense(make([]float32, rows*cols), rows, cols)
	linalg.Gemm(x, b, a, false)
	return x
}

// TestAutoStochastic finds the rank of changes that were merged with stochastic
// rounding.
func TestAutoStochastic(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	for _, c := range []struct {
		dtype    dtype.DType
		relative float64
	}{{dtype.BF16, 1e-3}, {dtype.BF16, 1e-2}, {dtype.F16, 1e-3}, {dtype.F32, 1e-3}} {
		for _, size := range [][2]int{{512, 512}, {192, 1024}} {
			for _, rank := range []int{1, 16} {
				d := stochasticPair(r, c.dtype, lowRank(r, size[0], size[1], rank, 0.02*c.relative))
				found := findAuto(t, d)
				what := fmt.Sprintf("%v at %g, %v, rank %d", c.dtype, c.relative, size, rank)
				if found.rank != rank || found.full {
					t.Errorf("%s: rank %d, full %v, stochastic %v", what, found.rank, found.full, found.stochastic)
				}
			}
		}
	}
}

// TestAutoDense: a change that is dense is not taken for noise, whatever its
// size beside that of the rounding, alone or on top of one of low rank.
func TestAutoDense(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	for _, relative := range []float64{1.5e-3, 2e-3, 1e-2} {
		for _, rank := range []int{0, 16} {
			x := randomMat(r, 512, 768, 0.02*relative)
			if rank > 0 {
				for i, v := range lowRank(r, 512, 768, rank, 0.02*1e-2).Data {
					x.Data[i] += v
				}
			}
			found := findAuto(t, pairOf(r, dtype.BF16, x))
			// Rounding to nearest has a relative size of 1.66e-3: what is dense and
			// smaller adds less to it than is allowed for.
			if !found.full && (relative > 1.5e-3 || found.rank != rank) {
				t.Errorf("dense at %g and rank %d: rank %d, full %v, stochastic %v", relative, rank, found.rank, found.full, found.stochastic)
			}
		}
	}
}

// TestSwallowed: the rounding of changes of rank 1 has values of its own above
// the noise, which are not counted; a small part of the change is.
func TestSwallowed(t *testing.T) {
	r := rand.New(rand.NewPCG(17, 18))
	for _, d := range []dtype.DType{dtype.BF16, dtype.F16} {
		for _, relative := range []float64{1e-2} {
			for _, size := range [][2]int{{512, 512}, {1024, 384}} {
				one := lowRank(r, size[0], size[1], 1, 0.02*relative)
				found := findAuto(t, pairOf(r, d, one))
				if found.rank != 1 || found.full {
					t.Errorf("%v at %g, %v: rank %d, want 1", d, relative, size, found.rank)
				}
				for i, v := range lowRank(r, size[0], size[1], 1, 0.02*relative/8).Data {
					one.Data[i] += v
				}
				if found = findAuto(t, pairOf(r, d, one)); found.rank < 2 {
					t.Errorf("%v at %g, %v: rank %d of a change with a second part", d, relative, size, found.rank)
				}
			}
		}
	}
}

// TestGrid: what was rounded to 16 bits and stored in 32 has the noise of 16.
func TestGrid(t *testing.T) {
	r := rand.New(rand.NewPCG(15, 16))
	for _, narrow := range []dtype.DType{dtype.BF16, dtype.F16} {
		d := pairOf(r, narrow, lowRank(r, 300, 400, 8, 0.02*1e-2))
		for _, s := range []*side{&d.base, &d.tuned} {
			x := make([]float32, 300*400)
			narrow.Decode32(x, s.bytes)
			s.dtype, s.bytes = dtype.F32, make([]byte, 4*len(x))
			dtype.F32.Encode32(s.bytes, x)
		}
		if g := d.tuned.grid(d.rows * d.cols); g != narrow {
			t.Errorf("%v values in F32: grid %v", narrow, g)
		}
		if found := findAuto(t, d); found.rank != 8 || found.full {
			t.Errorf("%v values in F32: rank %d, full %v; want 8", narrow, found.rank, found.full)
		}
	}
}
