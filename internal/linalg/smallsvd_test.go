package linalg

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"gonum.org/v1/gonum/mat"
)

// eps is the unit roundoff of float64.
const eps = 0x1p-53

// shapes are rows and columns: none, one, odd, tall, wide, longer than a panel.
var shapes = [][2]int{{0, 0}, {0, 3}, {3, 0}, {1, 1}, {1, 5}, {5, 1}, {7, 7}, {13, 40}, {40, 13}, {33, 33}, {200, 32}, {32, 200}, {90, 64}}

// spectra are singular values by their index i of n.
var spectra = map[string]func(i, n int) float64{
	"ones":        func(i, n int) float64 { return 1 },
	"zero":        func(i, n int) float64 { return 0 },
	"rank one":    func(i, n int) float64 { return float64(min(1, max(0, 1-i))) },
	"half rank":   func(i, n int) float64 { return float64(min(1, max(0, n/2-i))) },
	"power law":   func(i, n int) float64 { return 1 / float64(i+1) },
	"graded":      func(i, n int) float64 { return math.Pow(10, -float64(i)) },
	"clusters":    func(i, n int) float64 { return math.Pow(8, -float64(i/4)) },
	"tiny scale":  func(i, n int) float64 { return 1e-150 / float64(i+1) },
	"large scale": func(i, n int) float64 { return 1e150 / float64(i+1) },
}

func gaussian(r *rand.Rand, rows, cols int) Mat[float64] {
	m := newDense(rows, cols)
	for i := range m.Data {
		m.Data[i] = r.NormFloat64()
	}
	return m
}

// orthonormal returns a rows×cols matrix, rows ≥ cols, of orthonormal columns
// by a method that the package does not use: Gram and Schmidt's, twice.
func orthonormal(r *rand.Rand, rows, cols int) Mat[float64] {
	t := gaussian(r, cols, rows)
	for j := range cols {
		for range 2 {
			for i := range j {
				axpy(row(t, j), -dot(row(t, i), row(t, j)), row(t, i))
			}
			scal(row(t, j), 1/math.Sqrt(dot(row(t, j), row(t, j))))
		}
	}
	return transpose(t)
}

// withSpectrum makes a matrix of known singular values.
func withSpectrum(r *rand.Rand, rows, cols int, s []float64) Mat[float64] {
	k := min(rows, cols)
	u, v := orthonormal(r, rows, k), orthonormal(r, cols, k)
	for i := range rows {
		for j := range k {
			u.Data[i*k+j] *= s[j]
		}
	}
	m := newDense(rows, cols)
	Gemm(m, u, v.T(), false)
	return m
}

func product(a, b Mat[float64]) Mat[float64] {
	c := newDense(a.Rows, b.Cols)
	Gemm(c, a, b, false)
	return c
}

// distance returns the largest |a−b|.
func distance(a, b Mat[float64]) float64 {
	most := 0.0
	for i := range a.Rows {
		for j := range a.Cols {
			most = max(most, math.Abs(a.Data[i*a.RowStride+j*a.ColStride]-b.Data[i*b.RowStride+j*b.ColStride]))
		}
	}
	return most
}

func identity(n int) Mat[float64] {
	m := newDense(n, n)
	for i := range n {
		m.Data[i*n+i] = 1
	}
	return m
}

func TestQR(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, size := range shapes {
		for name, spectrum := range spectra {
			k := min(size[0], size[1])
			s := make([]float64, k)
			for i := range s {
				s[i] = spectrum(i, k)
			}
			a := withSpectrum(r, size[0], size[1], s)
			for _, m := range []Mat[float64]{a, transpose(a).T()} {
				q := NewQR(m)
				full := newDense(m.Rows, k)
				q.Mul(full, identity(k))
				bound := 20 * float64(k+1) * eps
				if d := distance(product(full.T(), full), identity(k)); d > bound {
					t.Errorf("%v %s: QᵀQ is off by %g", size, name, d)
				}
				scale := 0.0
				if k > 0 {
					scale = s[0]
				}
				if d := distance(product(full, q.R()), m); d > bound*scale {
					t.Errorf("%v %s: QR is off by %g of %g", size, name, d, scale)
				}
				for i := range q.R().Rows {
					for j := range i {
						if q.R().Data[i*q.R().RowStride+j] != 0 {
							t.Errorf("%v %s: R is not triangular", size, name)
						}
					}
				}
			}
		}
	}
}

func TestSVD(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, size := range shapes {
		for name, spectrum := range spectra {
			k := min(size[0], size[1])
			want := make([]float64, k)
			scale := 0.0
			for i := range want {
				want[i] = spectrum(i, k)
				scale = max(scale, want[i])
			}
			a := withSpectrum(r, size[0], size[1], want)
			u, s, vt := SVD(a)
			bound := 30 * float64(k+1) * eps
			for i := range s {
				if math.Abs(s[i]-want[i]) > bound*scale {
					t.Errorf("%v %s: σ%d = %g, want %g", size, name, i+1, s[i], want[i])
				}
			}
			if !slices.IsSortedFunc(s, func(x, y float64) int { return int(math.Copysign(1, y-x)) }) {
				t.Errorf("%v %s: %v is not sorted", size, name, s)
			}
			checkVectors(t, fmt.Sprint(size, name), u, s, vt, bound)
			us := newDense(u.Rows, k)
			for i := range u.Rows {
				for j := range k {
					us.Data[i*k+j] = u.Data[i*k+j] * s[j]
				}
			}
			if d := distance(product(us, vt), a); d > bound*scale {
				t.Errorf("%v %s: USVᵀ is off by %g of %g", size, name, d, scale)
			}
		}
	}
}

// checkVectors holds U and V against the identity, but for zero vectors of zero
// singular values.
func checkVectors(t *testing.T, name string, u Mat[float64], s []float64, vt Mat[float64], bound float64) {
	t.Helper()
	unit := identity(len(s))
	for i, v := range s {
		if v == 0 {
			unit.Data[i*len(s)+i] = 0
		}
	}
	left, right := product(u.T(), u), product(vt, vt.T())
	full := identity(len(s))
	if d := min(distance(left, full), distance(left, unit)); d > bound {
		t.Errorf("%s: UᵀU is off by %g", name, d)
	}
	if d := min(distance(right, full), distance(right, unit)); d > bound {
		t.Errorf("%s: VᵀV is off by %g", name, d)
	}
}

// TestSVDBesideLAPACK compares with gonum's translation of LAPACK.
func TestSVDBesideLAPACK(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, size := range [][2]int{{5, 5}, {30, 30}, {64, 40}, {40, 64}, {150, 150}} {
		a := gaussian(r, size[0], size[1])
		var svd mat.SVD
		if !svd.Factorize(mat.NewDense(size[0], size[1], slices.Clone(a.Data)), mat.SVDNone) {
			t.Fatal("LAPACK found no decomposition")
		}
		want := svd.Values(nil)
		_, s, _ := SVD(a)
		// Turning does not lengthen: the norm is kept to a few roundings.
		if ours, norm := math.Sqrt(dot(s, s)), math.Sqrt(dot(a.Data, a.Data)); math.Abs(ours/norm-1) > 10*eps {
			t.Errorf("%v: norm %v of the singular values, %v of the matrix", size, ours, norm)
		}
		bound := 2 * float64(min(size[0], size[1])+10) * eps * want[0]
		for i := range s {
			if math.Abs(s[i]-want[i]) > bound {
				t.Errorf("%v: σ%d = %v, LAPACK %v", size, i+1, s[i], want[i])
			}
		}
	}
}

// TestSVDRelative checks that values far below the largest keep their digits
// where the matrix determines them: columns of very different length.
func TestSVDRelative(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	a := gaussian(r, 20, 6)
	for j := range 6 {
		for i := range 20 {
			a.Data[i*6+j] = math.Ldexp(a.Data[i*6+j], -40*j)
		}
	}
	_, s, _ := SVD(a)
	for i := range a.Data { // the same in another unit: all values scale exactly
		a.Data[i] = math.Ldexp(a.Data[i], 77)
	}
	_, scaled, _ := SVD(a)
	for i := range s {
		if math.Ldexp(s[i], 77) != scaled[i] {
			t.Errorf("σ%d = %g does not scale: %g", i+1, s[i], scaled[i])
		}
		if i > 0 && (s[i]/s[i-1] > math.Ldexp(1, -36) || s[i]/s[i-1] < math.Ldexp(1, -44)) {
			t.Errorf("σ%d/σ%d = %g, want about 2^-40", i+1, i, s[i]/s[i-1])
		}
	}
}

// TestSVDBits holds the bits of a decomposition against those that every
// processor, kernel and build must find.
func TestSVDBits(t *testing.T) {
	h := fnv.New64a()
	for _, size := range [][2]int{{60, 24}, {24, 60}, {31, 31}} {
		u, s, vt := SVD(gaussian(rand.New(rand.NewPCG(11, 12)), size[0], size[1]))
		for _, x := range slices.Concat(u.Data, s, vt.Data) {
			binary.Write(h, binary.LittleEndian, x)
		}
	}
	if got, want := h.Sum64(), uint64(0xb5f426ab20e34f27); got != want {
		t.Errorf("hash %#x, want %#x", got, want)
	}
}

func TestSVDNotFiniteEnds(t *testing.T) {
	for _, x := range []float64{math.NaN(), math.Inf(1)} {
		a := gaussian(rand.New(rand.NewPCG(9, 9)), 12, 9)
		a.Data[17] = x
		SVD(a) // returns
	}
}

func BenchmarkSVD(b *testing.B) {
	for _, n := range []int{32, 64, 128, 256, 512} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			a := gaussian(rand.New(rand.NewPCG(1, 1)), n, n)
			for b.Loop() {
				SVD(a)
			}
		})
	}
}

func BenchmarkQR(b *testing.B) {
	for _, size := range [][2]int{{4096, 32}, {14336, 32}, {4096, 256}} {
		b.Run(fmt.Sprintf("%dx%d", size[0], size[1]), func(b *testing.B) {
			a := gaussian(rand.New(rand.NewPCG(1, 1)), size[0], size[1])
			for b.Loop() {
				NewQR(a)
			}
			b.ReportMetric(2*float64(size[0])*float64(size[1]*size[1])/b.Elapsed().Seconds()*float64(b.N)/1e9, "GFLOP/s")
		})
	}
}
