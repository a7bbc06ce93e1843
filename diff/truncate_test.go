package diff

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/internal/linalg"
)

func spectral(r *rand.Rand, rows, cols int, values []float64) linalg.Mat[float32] {
	n := len(values)
	u, v := linalg.Dense(make([]float32, n*rows), n, rows), linalg.Dense(make([]float32, n*cols), n, cols)
	for _, m := range []linalg.Mat[float32]{u, v} {
		for i := range m.Data {
			m.Data[i] = float32(r.NormFloat64())
		}
		linalg.Orthonormalize(m)
	}
	for i, s := range values {
		for j := range rows {
			u.Data[i*rows+j] *= float32(s)
		}
	}
	x := linalg.Dense(make([]float32, rows*cols), rows, cols)
	linalg.ParallelGemm(2, x, u.T(), v, false)
	return x
}

func TestTmp(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	spectra := map[string]func(i int) float64{
		"i^-0.5": func(i int) float64 { return math.Pow(float64(i), -.5) },
		"i^-1":   func(i int) float64 { return 1 / float64(i) },
		"exp40":  func(i int) float64 { return math.Exp(-float64(i) / 40) },
		"exp8":   func(i int) float64 { return math.Exp(-float64(i) / 8) },
		"exact16": func(i int) float64 {
			if i <= 16 {
				return 1
			}
			return 0
		},
		"spiked": func(i int) float64 {
			if i <= 16 {
				return 1
			}
			return .05
		},
		"flat":      func(i int) float64 { return 1 },
		"clusters":  func(i int) float64 { return math.Pow(2, -float64((i-1)/10)) },
		"marchenko": nil,
	}
	for name, f := range spectra {
		for _, sh := range [][2]int{{512, 512}, {2048, 128}, {128, 2048}} {
			var x linalg.Mat[float32]
			values := make([]float64, min(sh[0], sh[1]))
			if f == nil {
				x = linalg.Dense(make([]float32, sh[0]*sh[1]), sh[0], sh[1])
				for i := range x.Data {
					x.Data[i] = float32(r.NormFloat64())
				}
			} else {
				for i := range values {
					values[i] = f(i + 1)
				}
				x = spectral(r, sh[0], sh[1], values)
			}
			k := linalg.NewKrylov(linalg.InMemory(x), 144, 2, 1, 1)
			for !k.Complete() {
				k.Grow()
			}
			total := 0.0
			for _, v := range x.Data {
				total += float64(v) * float64(v)
			}
			for _, rank := range []int{4, 16, 32, 64, 128} {
				tail := 0.0
				for _, q := range k.Squares()[rank:] {
					tail += q
				}
				tr, err := truncator{workers: 2, seed: 1, maxRank: 256}.truncate(linalg.InMemory(x), "x", RankRule{Kind: FixedRank, N: rank}, stats{delta2: total})
				if err != nil {
					t.Fatal(err)
				}
				e := 0.0
				u, v := tr.u, tr.v
				for i := range u.Data {
					u.Data[i] = -u.Data[i]
				}
				y := linalg.Dense(append([]float32(nil), x.Data...), sh[0], sh[1])
				linalg.ParallelGemm(2, y, u.T(), v, true)
				for _, v := range y.Data {
					e += float64(v) * float64(v)
				}
				fmt.Printf("%s %v r=%d size %d rel %.2g excess %.5f\n", name, sh, rank, len(tr.squares), math.Sqrt(tail/total), math.Sqrt(e/tail))
			}
		}
	}
}

func TestTmpAuto(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	rows, cols := 1024, 2048
	for _, c := range []struct {
		d   dtype.DType
		rel float64
	}{{dtype.BF16, 1e-3}, {dtype.BF16, 3e-3}, {dtype.BF16, 1e-2}, {dtype.BF16, 3e-2}, {dtype.F16, 3e-4}, {dtype.F16, 1e-3}, {dtype.F16, 1e-2}, {dtype.F32, 1e-3}} {
		for _, dense := range []bool{false, true} {
			n := rows * cols
			w := make([]float32, n)
			for i := range w {
				w[i] = float32(r.NormFloat64() * .02)
			}
			base := make([]byte, n*c.d.Bits()/8)
			c.d.Encode32(base, w)
			c.d.Decode32(w, base)
			x := linalg.Dense(make([]float32, n), rows, cols)
			if dense {
				for i := range x.Data {
					x.Data[i] = float32(r.NormFloat64() * .02 * c.rel)
				}
			} else {
				a, b := linalg.Dense(make([]float32, 16*cols), 16, cols), linalg.Dense(make([]float32, 16*rows), rows, 16)
				for _, m := range [][]float32{a.Data, b.Data} {
					for i := range m {
						m[i] = float32(r.NormFloat64() * .5 * math.Sqrt(.02*c.rel))
					}
				}
				linalg.ParallelGemm(2, x, b, a, false)
			}
			for i := range w {
				w[i] += x.Data[i]
			}
			tuned := make([]byte, n*c.d.Bits()/8)
			c.d.Encode32(tuned, w)
			d := &delta{side{c.d, base}, side{c.d, tuned}, rows, cols}
			xs := make([]float32, n)
			s, err := d.load(2, xs)
			if err != nil {
				t.Fatal(err)
			}
			tr, err := truncator{workers: 2, seed: 1, maxRank: 256}.truncate(linalg.InMemory(linalg.Dense(xs, rows, cols)), "x", RankRule{}, s)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Println(c.d, c.rel, dense, "rel", s.relative(), "noise", math.Sqrt(s.noise2/s.delta2), "rank", tr.rank, tr.full, len(tr.squares), "edge", s.edge, "s", math.Sqrt(tr.squares[max(tr.rank-1, 0)]), math.Sqrt(tr.squares[tr.rank]))
		}
	}
}
