package linalg

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"gonum.org/v1/gonum/mat"
)

func normal(r *rand.Rand, rows, cols int) Mat[float32] {
	m := Dense(make([]float32, rows*cols), rows, cols)
	for i := range m.Data {
		m.Data[i] = float32(r.NormFloat64())
	}
	return m
}

// deviation returns the largest element of |Y·Yᵀ − 1|.
func deviation(y Mat[float32]) float64 {
	g, most := gramOf(y, y), 0.0
	for i := range g.Rows {
		for j := range g.Cols {
			want := 0.0
			if i == j {
				want = 1
			}
			most = max(most, math.Abs(g.Data[i*g.Cols+j]-want))
		}
	}
	return most
}

// TestOrthonormalize checks orthogonality and, where the rows are far from
// dependent, the span.
func TestOrthonormalize(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	graded := normal(r, 24, 500)
	for i := range graded.Rows {
		for j := range graded.Cols {
			graded.Data[i*500+j] *= float32(math.Pow(10, -float64(i)/4))
		}
	}
	dependent := normal(r, 8, 100)
	copy(dependent.Data[300:400], dependent.Data[:100])
	one := Dense(make([]float32, 6*40), 6, 40)
	for i := range 6 {
		one.Data[i*40+7] = float32(i + 1)
	}
	for name, y := range map[string]Mat[float32]{
		"random": normal(r, 20, 700), "square": normal(r, 33, 33), "one": normal(r, 1, 1), "graded": graded,
		"dependent": dependent, "rank one": one, "zero": Dense(make([]float32, 5*30), 5, 30), "none": Dense[float32](nil, 0, 10),
	} {
		before := Dense(slices.Clone(y.Data), y.Rows, y.Cols)
		Orthonormalize(y)
		// float32 elements of rows of length 1: each product of rows is off by
		// at most cols·2^-24·|y|², in practice far less.
		if d := deviation(y); d > 4e-7 {
			t.Errorf("%s: rows deviate from orthonormal by %g", name, d)
		}
		if name == "dependent" || name == "rank one" || name == "zero" {
			continue
		}
		scale := 0.0
		for _, x := range before.Data {
			scale = max(scale, math.Abs(float64(x)))
		}
		for range 2 {
			projectOut(before, y)
		}
		for _, x := range before.Data {
			if math.Abs(float64(x)) > 1e-5*scale {
				t.Errorf("%s: the span lost %g of %g", name, x, scale)
				break
			}
		}
	}
}

// TestKrylovComplete holds a complete basis against LAPACK's singular values.
func TestKrylovComplete(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, size := range [][2]int{{1, 1}, {1, 9}, {9, 1}, {40, 30}, {17, 100}, {100, 17}, {400, 60}} {
		x := normal(r, size[0], size[1])
		if size[0] == 400 { // one value of a multiplicity above the block
			q := normal(r, 60, 400)
			Orthonormalize(q)
			for i := range x.Data {
				x.Data[i] = q.Data[i%60*400+i/60]
			}
		}
		k := NewKrylov(InMemory(x), 12, 2, 1, 1)
		for !k.Complete() {
			if err := k.Grow(); err != nil {
				t.Fatal(err)
			}
		}
		wide := mat.NewDense(size[0], size[1], nil)
		for i, v := range x.Data {
			wide.Set(i/size[1], i%size[1], float64(v))
		}
		var svd mat.SVD
		svd.Factorize(wide, mat.SVDNone)
		for i, s := range svd.Values(nil) {
			if got := math.Sqrt(k.Squares()[i]); math.Abs(got-s) > 1e-5*math.Sqrt(float64(size[0]*size[1])) {
				t.Errorf("%v: σ%d = %v, want %v", size, i+1, got, s)
			}
		}
		u, v := k.Factors(k.Size())
		for i := range u.Data {
			u.Data[i] = -u.Data[i]
		}
		rest := Dense(slices.Clone(x.Data), x.Rows, x.Cols)
		Gemm(rest, u.T(), v, true)
		if n := gramNorm(rest); n > 1e-5*gramNorm(x) {
			t.Errorf("%v: all vectors leave %g of %g", size, n, gramNorm(x))
		}
	}
}

// TestKrylovRepeated grows a basis beyond a rank of many equal values: their
// Gram matrix has one large value many times beside many zeros.
func TestKrylovRepeated(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 0))
	const n, rank = 512, 200
	u, v := normal(r, rank, n), normal(r, rank, n)
	Orthonormalize(u)
	Orthonormalize(v)
	x := Dense(make([]float32, n*n), n, n)
	Gemm(x, u.T(), v, false)
	for _, block := range []int{156, 228} {
		k := NewKrylov(InMemory(x), block, 2, 1, 1)
		for range 2 {
			if err := k.Grow(); err != nil {
				t.Fatal(err)
			}
		}
		for i, q := range k.Squares() {
			want := 0.0
			if i < rank {
				want = 1
			}
			if !(math.Abs(q-want) <= 1e-6) {
				t.Errorf("blocks of %d: σ%d² = %v, want %v", block, i+1, q, want)
			}
		}
	}
}

func gramNorm(x Mat[float32]) float64 {
	sum := 0.0
	for _, v := range x.Data {
		sum += float64(v) * float64(v)
	}
	return math.Sqrt(sum)
}

// blocks is a Source that copies what it is asked for.
type blocks struct{ Mat[float32] }

func (b blocks) Dims() (int, int) { return b.Rows, b.Cols }
func (b blocks) Block(buf *[]float32, row, rows, col, cols int) (Mat[float32], error) {
	*buf = slices.Grow((*buf)[:0], rows*cols)[:rows*cols]
	for i := range rows {
		copy((*buf)[i*cols:(i+1)*cols], b.Data[(row+i)*b.RowStride+col:])
	}
	return Dense(*buf, rows, cols), nil
}

// TestKrylovSameBits checks that neither the number of workers nor the way in
// which a matrix is read changes a bit.
func TestKrylovSameBits(t *testing.T) {
	x := normal(rand.New(rand.NewPCG(5, 6)), 1100, 1300)
	var want []float32
	for _, workers := range []int{1, 2, 7} {
		for _, source := range []Source{InMemory(x), blocks{x}} {
			k := NewKrylov(source, 24, workers, 7, 8)
			for range 3 {
				if err := k.Grow(); err != nil {
					t.Fatal(err)
				}
			}
			u, v := k.Factors(20)
			got := slices.Concat(u.Data, v.Data)
			if want == nil {
				want = got
			}
			if !slices.Equal(got, want) {
				t.Errorf("%d workers, %T: other bits", workers, source)
			}
		}
	}
}

type failing struct{ blocks }

var errRead = errors.New("read")

func (f failing) Block(buf *[]float32, row, rows, col, cols int) (Mat[float32], error) {
	return Mat[float32]{}, errRead
}

func TestKrylovError(t *testing.T) {
	k := NewKrylov(failing{blocks{normal(rand.New(rand.NewPCG(9, 9)), 30, 20)}}, 4, 2, 1, 1)
	if err := k.Grow(); !errors.Is(err, errRead) {
		t.Errorf("error %v, want that of the source", err)
	}
}

func ExampleKrylov() {
	x := Dense([]float32{
		3, 0, 0,
		0, 2, 0,
	}, 2, 3)
	k := NewKrylov(InMemory(x), 4, 1, 0, 0)
	for !k.Complete() {
		if err := k.Grow(); err != nil {
			fmt.Println(err)
			return
		}
	}
	fmt.Printf("%.4f\n", k.Squares())
	// Output: [9.0000 4.0000]
}

// TestKrylovDegenerate grows a basis beyond the rank of the matrix, of rows and
// columns that are zero for the most part: what is completed must stay outside
// of what is there.
func TestKrylovDegenerate(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 9))
	for _, elements := range []int{0, 1, 5, 20, 49, 120} {
		for _, size := range [][2]int{{120, 64}, {64, 120}, {70, 70}} {
			x := Dense(make([]float32, size[0]*size[1]), size[0], size[1])
			wide := mat.NewDense(size[0], size[1], nil)
			for range elements {
				i, v := r.IntN(len(x.Data)), float32(r.NormFloat64()*1e-4)
				x.Data[i] = v
				wide.Set(i/size[1], i%size[1], float64(v))
			}
			var svd mat.SVD
			svd.Factorize(wide, mat.SVDNone)
			want := svd.Values(nil)
			k := NewKrylov(InMemory(x), 24, 2, 1, 1)
			for !k.Complete() {
				if err := k.Grow(); err != nil {
					t.Fatal(err)
				}
				if d := deviation(Dense(k.q, k.size, k.rows)); d > 1e-6 {
					t.Errorf("%d elements in %v, %d vectors: the basis deviates from orthonormal by %g", elements, size, k.size, d)
				}
			}
			for i, q := range k.Squares() {
				if d := math.Abs(math.Sqrt(q) - want[i]); d > 1e-6*want[0] {
					t.Errorf("%d elements in %v: σ%d = %v, want %v", elements, size, i+1, math.Sqrt(q), want[i])
				}
			}
		}
	}
}
