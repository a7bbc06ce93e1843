package diff

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"gonum.org/v1/gonum/mat"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/internal/linalg"
	"github.com/loratool/loratool/internal/lowrank"
)

func randomMat(r *rand.Rand, rows, cols int, sigma float64) linalg.Mat[float32] {
	m := linalg.Dense(make([]float32, rows*cols), rows, cols)
	for i := range m.Data {
		m.Data[i] = float32(r.NormFloat64() * sigma)
	}
	return m
}

// spectral returns a matrix whose singular values are those given, but for the
// rounding to float32.
func spectral(r *rand.Rand, rows, cols int, value func(i int) float64) linalg.Mat[float32] {
	n := min(rows, cols)
	u, v := randomMat(r, n, rows, 1), randomMat(r, n, cols, 1)
	linalg.Orthonormalize(u)
	linalg.Orthonormalize(v)
	for i := range n {
		for j := range rows {
			u.Data[i*rows+j] *= float32(value(i + 1))
		}
	}
	x := linalg.Dense(make([]float32, rows*cols), rows, cols)
	linalg.ParallelGemm(2, x, u.T(), v, false)
	return x
}

// singularSquares are LAPACK's, in float64, of the float32 matrix as it is.
func singularSquares(x linalg.Mat[float32]) []float64 {
	wide := mat.NewDense(x.Rows, x.Cols, nil)
	for i, v := range x.Data {
		wide.Set(i/x.Cols, i%x.Cols, float64(v))
	}
	var svd mat.SVD
	svd.Factorize(wide, mat.SVDNone)
	s := svd.Values(nil)
	for i := range s {
		s[i] *= s[i]
	}
	return s
}

// spectra are the kinds that the promise of the package speaks of.
var spectra = map[string]func(i int) float64{
	"power law":   func(i int) float64 { return math.Pow(float64(i), -0.5) },
	"harmonic":    func(i int) float64 { return 1 / float64(i) },
	"exponential": func(i int) float64 { return math.Exp(-float64(i) / 40) },
	"spiked": func(i int) float64 {
		if i <= 16 {
			return 1
		}
		return 0.05
	},
	"flat":      func(int) float64 { return 1 },
	"clustered": func(i int) float64 { return math.Pow(2, -float64((i-1)/10)) },
	"random":    nil, // independent elements: dense at its upper end, the hardest
}

// promise is how far the error may be above that of Eckart and Young.
const promise = 1.005

// TestEckartYoung compares the error with the optimum, by LAPACK.
func TestEckartYoung(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for name, value := range spectra {
		for _, size := range [][2]int{{192, 192}, {2048, 128}, {128, 2048}} {
			x := randomMat(r, size[0], size[1], 1)
			if value != nil {
				x = spectral(r, size[0], size[1], value)
			}
			squares := singularSquares(x)
			total := sum(squares)
			for _, rank := range []int{4, 16, 32, 64, 100} {
				found, err := truncator{workers: 2, seed: 1}.truncate(linalg.InMemory(x), name, lowrank.Fixed(rank), stats{delta2: total})
				if err != nil {
					t.Fatal(err)
				}
				left, right := found.factors(rank)
				got, _, err := residual(2, linalg.InMemory(x), 1, left, right, found.next())
				if err != nil {
					t.Fatal(err)
				}
				// Of ‖X‖, what float32 cannot resolve of an error in a product.
				floor := math.Pow(4e-7, 2) * total
				if best := sum(squares[rank:]); got > promise*promise*best+floor {
					t.Errorf("%s %v rank %d: error %g × the optimum", name, size, rank, math.Sqrt(got/best))
				}
			}
		}
	}
}

// TestSmallErrors looks for errors far below what sums of squares in float32
// tell from zero: eight large values beside a tail, or nothing.
func TestSmallErrors(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	for _, c := range []struct {
		rows, cols int
		tail       float64 // its norm by that of all
		rule       string
	}{
		{64, 48, 0, "error=1e-5"}, {64, 48, 0, "energy=0.9999999999"}, {64, 48, 3e-5, "error=2e-5"},
		{300, 300, 1e-4, "error=7e-5"}, {300, 300, 3e-5, "error=2e-5"}, {300, 300, 1e-5, "8"}, {300, 300, 1e-5, "16"},
		{400, 250, 1e-5, "error=7e-6"}, {250, 400, 1e-5, "40"}, {300, 300, 0, "error=1e-5"},
	} {
		n := min(c.rows, c.cols)
		x := spectral(r, c.rows, c.cols, func(i int) float64 {
			if i <= 8 {
				return math.Sqrt(1.0 / 8)
			}
			return c.tail / math.Sqrt(float64(n-8))
		})
		rule, err := lowrank.ParseRule(c.rule)
		if err != nil {
			t.Fatal(err)
		}
		squares := singularSquares(x)
		total := sum(squares)
		found, err := truncator{workers: 2, seed: 1, maxRank: 256}.truncate(linalg.InMemory(x), "x", rule, stats{delta2: total})
		if err != nil {
			t.Fatal(err)
		}
		want := rule.Rank(lowrank.Spectrum{Sigma: roots(squares), Square: total})
		if d := found.rank - want; d < -n/50 || d > n/50 {
			t.Errorf("%+v: rank %d, want %d", c, found.rank, want)
		}
		left, right := found.factors(found.rank)
		got, _, err := residual(2, linalg.InMemory(x), 1, left, right, found.next())
		if err != nil {
			t.Fatal(err)
		}
		if best := sum(squares[found.rank:]); got > promise*promise*best+math.Pow(6e-7, 2)*total {
			t.Errorf("%+v: error %g at rank %d, the optimum is %g", c, math.Sqrt(got/total), found.rank, math.Sqrt(best/total))
		}
	}
}

// TestMultiple asks for more of one value than the first block has vectors.
func TestMultiple(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	for _, size := range [][2]int{{96, 400}, {400, 96}, {200, 200}} {
		n := min(size[0], size[1])
		x := spectral(r, size[0], size[1], func(int) float64 { return 1 })
		rule, err := lowrank.ParseRule("energy=0.9")
		if err != nil {
			t.Fatal(err)
		}
		found, err := truncator{workers: 2, maxRank: 256}.truncate(linalg.InMemory(x), "x", rule, stats{delta2: float64(n)})
		if err != nil {
			t.Fatal(err)
		}
		if want := int(math.Ceil(0.9 * float64(n))); found.rank != want {
			t.Errorf("%v: rank %d, want %d", size, found.rank, want)
		}
	}
}

func sum(x []float64) (s float64) {
	for _, v := range x {
		s += v
	}
	return s
}

// pairOf makes the two sides of a delta: weights of a dtype, and the same with
// x added, rounded once.
func pairOf(r *rand.Rand, d dtype.DType, x linalg.Mat[float32]) *delta {
	w := randomMat(r, x.Rows, x.Cols, 0.02).Data
	base, tuned := make([]byte, len(w)*d.Bits()/8), make([]byte, len(w)*d.Bits()/8)
	d.Encode32(base, w)
	d.Decode32(w, base)
	for i := range w {
		w[i] += x.Data[i]
	}
	d.Encode32(tuned, w)
	return &delta{base: side{dtype: d, bytes: base}, tuned: side{dtype: d, bytes: tuned}, rows: x.Rows, cols: x.Cols}
}

// TestAutoRank merges changes of known rank into 16-bit weights: the rule finds
// the rank again, nothing where nothing changed, and says so where the change
// has no low rank.
func TestAutoRank(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, c := range []struct {
		dtype    dtype.DType
		relative float64
	}{{dtype.BF16, 3e-3}, {dtype.BF16, 1e-2}, {dtype.F16, 1e-3}, {dtype.F16, 1e-2}, {dtype.F32, 1e-3}} {
		for _, size := range [][2]int{{512, 512}, {192, 1024}, {1024, 192}} {
			b, a := randomMat(r, size[0], 16, 0.25), randomMat(r, 16, size[1], 0.02*c.relative)
			x := linalg.Dense(make([]float32, size[0]*size[1]), size[0], size[1])
			linalg.Gemm(x, b, a, false)
			if rank, full := autoRank(t, pairOf(r, c.dtype, x)); rank != 16 || full {
				t.Errorf("%v at %g, %v: rank %d, full %v; want 16", c.dtype, c.relative, size, rank, full)
			}
			clear(x.Data)
			if rank, full := autoRank(t, pairOf(r, c.dtype, x)); rank != 0 || full {
				t.Errorf("%v unchanged: rank %d, full %v; want 0", c.dtype, rank, full)
			}
		}
		dense := randomMat(r, 512, 512, 0.02*c.relative)
		if rank, full := autoRank(t, pairOf(r, c.dtype, dense)); !full {
			t.Errorf("%v dense at %g: rank %d, not said to be full", c.dtype, c.relative, rank)
		}
	}
}

func autoRank(t *testing.T, d *delta) (rank int, full bool) {
	t.Helper()
	x := make([]float32, d.rows*d.cols)
	s, err := d.load(2, x)
	if err != nil {
		t.Fatal(err)
	}
	if s.delta2 == 0 {
		return 0, false
	}
	found, err := truncator{workers: 2, maxRank: 64}.truncate(linalg.InMemory(linalg.Dense(x, d.rows, d.cols)), "x", lowrank.Auto(), s)
	if err != nil {
		t.Fatal(err)
	}
	return found.rank, found.full
}

// TestNoise compares the expected noise with that of an actual rounding.
func TestNoise(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, d := range []dtype.DType{dtype.BF16, dtype.F16} {
		w := randomMat(r, 300, 400, 0.02)
		raw := make([]byte, len(w.Data)*2)
		d.Encode32(raw, w.Data)
		exact := make([]byte, len(w.Data)*4)
		dtype.F32.Encode32(exact, w.Data)
		rounded := &delta{base: side{dtype: dtype.F32, bytes: exact}, tuned: side{dtype: d, bytes: raw}, rows: 300, cols: 400}
		x := linalg.Dense(make([]float32, 300*400), 300, 400)
		s, err := rounded.load(2, x.Data)
		if err != nil {
			t.Fatal(err)
		}
		// The estimate is the mean of 120,000 squares of uniform numbers, whose
		// relative deviation is 0.9; four standard errors are 0.01.
		if q := s.delta2 / s.noise2; math.Abs(q-1) > 0.02 {
			t.Errorf("%v: noise² is %g of the expected", d, q)
		}
		if most := math.Sqrt(singularSquares(x)[0]); most > s.edge || most < 0.75*s.edge {
			t.Errorf("%v: largest singular value %g of noise, edge %g", d, most, s.edge)
		}
	}
}

// TestDeltaBlocks checks that a delta reads the same in pieces and as a whole,
// from every pair of dtypes.
func TestDeltaBlocks(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	values := randomMat(r, 33, 50, 1).Data
	for _, db := range []dtype.DType{dtype.BF16, dtype.F32, dtype.F64} {
		for _, dt := range []dtype.DType{dtype.F16, dtype.F64, dtype.F8_E4M3} {
			base, tuned := make([]byte, len(values)*db.Bits()/8), make([]byte, len(values)*dt.Bits()/8)
			db.Encode32(base, values)
			dt.Encode32(tuned, values)
			d := &delta{base: side{dtype: db, bytes: base}, tuned: side{dtype: dt, bytes: tuned}, rows: 33, cols: 50}
			whole := make([]float32, len(values))
			if _, err := d.load(3, whole); err != nil {
				t.Fatal(err)
			}
			var b, w [1]float64
			for i, x := range whole {
				db.Decode64(b[:], d.base.part(i, 1))
				dt.Decode64(w[:], d.tuned.part(i, 1))
				if x != float32(w[0]-b[0]) {
					t.Fatalf("%v − %v: element %d is %v, want %v", dt, db, i, x, w[0]-b[0])
				}
			}
			var buf []float32
			m, err := d.Block(&buf, 5, 20, 7, 31)
			if err != nil {
				t.Fatal(err)
			}
			for i := range 20 {
				if !slices.Equal(m.Data[i*31:(i+1)*31], whole[(5+i)*50+7:][:31]) {
					t.Fatalf("%v − %v: row %d of a block differs", dt, db, i)
				}
			}
		}
	}
}
