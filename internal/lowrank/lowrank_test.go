package lowrank

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"gonum.org/v1/gonum/mat"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/internal/linalg"
)

func random(r *rand.Rand, rows, cols int) Mat {
	m := linalg.Dense(make([]float64, rows*cols), rows, cols)
	for i := range m.Data {
		m.Data[i] = r.NormFloat64()
	}
	return m
}

// rounded rounds m to a dtype, as a file does.
func rounded(m Mat, d dtype.DType) Mat {
	raw := make([]byte, len(m.Data)*d.Bits()/8)
	d.Encode64(raw, m.Data)
	d.Decode64(m.Data, raw)
	return m
}

// dense forms Σ w·B·A with gonum.
func dense(terms []Term) *mat.Dense {
	sum := mat.NewDense(terms[0].B.Rows, terms[0].A.Cols, nil)
	for _, t := range terms {
		var p mat.Dense
		p.Mul(mat.NewDense(t.B.Rows, t.B.Cols, t.B.Data), mat.NewDense(t.A.Rows, t.A.Cols, t.A.Data))
		p.Scale(t.Weight, &p)
		sum.Add(sum, &p)
	}
	return sum
}

// TestDecompose holds singular values and truncations against LAPACK's on the
// dense sum: the error of rank r is the tail of Σ (Eckart and Young 1936).
func TestDecompose(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		out, in int
		ranks   []int
	}{{1, 1, []int{1}}, {40, 30, []int{4}}, {30, 40, []int{3, 8, 1}}, {6, 50, []int{4, 4}}, {50, 6, []int{4, 4}}, {5, 5, []int{9}}} {
		var terms []Term
		for i, rank := range c.ranks {
			terms = append(terms, Term{float64(i*2) - 1.5, random(r, c.out, rank), random(r, rank, c.in)})
		}
		sum := dense(terms)
		var svd mat.SVD
		svd.Factorize(sum, mat.SVDNone)
		want := svd.Values(nil)
		d := Decompose(terms)
		for name, got := range map[string]float64{"Norm": Norm(terms), "RoughNorm": RoughNorm(terms), "Square": math.Sqrt(d.Square())} {
			if math.Abs(got-mat.Norm(sum, 2)) > 1e-13*want[0] {
				t.Errorf("%v: %s %v, want %v", c, name, got, mat.Norm(sum, 2))
			}
		}
		for i, s := range d.Sigma {
			w := 0.0
			if i < len(want) {
				w = want[i]
			}
			if math.Abs(s-w) > 1e-13*want[0] {
				t.Errorf("%v: σ%d = %v, want %v", c, i+1, s, w)
			}
		}
		for _, scale := range []float64{1, -2.5} {
			for rank := range len(d.Sigma) + 2 {
				checkFactors(t, d, sum, want, rank, scale)
			}
		}
	}
}

func checkFactors(t *testing.T, d *Delta, sum *mat.Dense, want []float64, rank int, scale float64) {
	t.Helper()
	b, a := d.Factors(rank, scale)
	rest := mat.DenseCopyOf(sum)
	if rank > 0 {
		var p mat.Dense
		p.Mul(mat.NewDense(d.Out, rank, b), mat.NewDense(rank, d.In, a))
		p.Scale(scale, &p)
		rest.Sub(sum, &p)
	}
	tail := norm(want[min(rank, len(want)):])
	if got := mat.Norm(rest, 2); math.Abs(got-tail) > 1e-12*want[0] {
		t.Errorf("%d×%d at rank %d: error %v, want %v", d.Out, d.In, rank, got, tail)
	}
}

// TestCancel checks that a difference of nearly equal deltas keeps the digits
// that the factors have.
func TestCancel(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	b, a := random(r, 30, 4), random(r, 4, 20)
	near := Term{-1, linalg.Dense(slices.Clone(b.Data), 30, 4), a}
	for i := range near.B.Data {
		near.B.Data[i] += 1e-9 * r.NormFloat64()
	}
	terms := []Term{{1, b, a}, near}
	want := mat.Norm(dense(terms), 2)
	d := Decompose(terms)
	if got := math.Sqrt(d.Square()); math.Abs(got/want-1) > 1e-6 || math.Abs(Norm(terms)/want-1) > 1e-6 {
		t.Errorf("norm %v and %v, want %v", got, Norm(terms), want)
	}
	if zero := Norm([]Term{{1, b, a}, {-1, b, a}}); zero > 1e-14*mat.Norm(dense(terms[:1]), 2) {
		t.Errorf("a delta less itself has norm %v", zero)
	}
}

// TestAuto checks that the noise floor finds the rank that a delta had before
// its factors were rounded: stacked copies, and small true directions.
func TestAuto(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, c := range []struct {
		dt   dtype.DType
		tail float64 // the smallest true singular value, to the largest
	}{{dtype.F64, 1e-12}, {dtype.F32, 1e-4}, {dtype.F16, 0.05}, {dtype.BF16, 0.2}} {
		for _, size := range [][2]int{{64, 96}, {512, 64}, {300, 300}} {
			const rank = 6
			b, a := random(r, size[0], rank), random(r, rank, size[1])
			for i := range size[0] { // graded
				for j := range rank {
					b.Data[i*rank+j] *= math.Pow(c.tail, float64(j)/(rank-1))
				}
			}
			// The same delta in twice the rank: mixed by an orthogonal matrix.
			mix, _, _ := linalg.SVD(random(r, 2*rank, 2*rank))
			b2, a2 := linalg.Dense(make([]float64, size[0]*2*rank), size[0], 2*rank), linalg.Dense(make([]float64, 2*rank*size[1]), 2*rank, size[1])
			linalg.Gemm(b2, b, mix.View(0, 0, rank, 2*rank), false)
			linalg.Gemm(a2, mix.View(0, 0, rank, 2*rank).T(), a, false)
			term := Term{0.5, rounded(b2, c.dt), rounded(a2, c.dt)}
			mantissa, least := c.dt.Precision()
			d := Decompose([]Term{term})
			floor := d.Floor([]Noise{RoundingNoise(term, mantissa, least)})
			s := Spectrum{Sigma: d.Sigma, Square: d.Square(), Floor: floor}
			if got := Auto().Rank(s); got != rank {
				t.Errorf("%v %v: rank %d, want %d; floor %g, values %g", c.dt, size, got, rank, floor, d.Sigma)
			}
		}
	}
}

func ExampleDecompose() {
	b := linalg.Dense([]float64{3, 3, 0, 0}, 2, 2)
	a := linalg.Dense([]float64{1, 0, 1, 0}, 2, 2)
	d := Decompose([]Term{{Weight: 0.5, B: b, A: a}})
	rank := Auto().Rank(Spectrum{Sigma: d.Sigma, Floor: 1e-9})
	fmt.Printf("%.0f of rank %d\n", d.Sigma, rank)
	// Output: [3 0] of rank 1
}
