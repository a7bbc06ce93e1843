package linalg

import (
	"cmp"
	"encoding/binary"
	"hash/fnv"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// symmetric makes a matrix of given eigenvalues.
func symmetric(r *rand.Rand, n int, value func(i, n int) float64) Mat[float64] {
	q := orthonormal(r, n, n)
	scaled := transpose(q)
	for i := range n {
		scal(row(scaled, i), value(i, n))
	}
	m := product(q, scaled)
	for i := range n {
		for j := range i {
			m.Data[i*n+j] = m.Data[j*n+i]
		}
	}
	return m
}

// TestEigen checks A·v = λ·v, that the vectors are orthonormal and that the
// values are those that the matrix was made of.
func TestEigen(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	kinds := map[string]func(i, n int) float64{
		"signs":     func(i, n int) float64 { return math.Cos(float64(i)) },
		"all equal": func(i, n int) float64 { return -3 },
	}
	maps.Copy(kinds, spectra)
	for name, value := range kinds {
		for _, n := range []int{0, 1, 2, 3, 7, 40, 130, 131, 132, 133} {
			a := symmetric(r, n, value)
			e := NewEigen(a)
			most := 0.0
			for _, v := range e.Values() {
				most = max(most, math.Abs(v))
			}
			limit := 8 * float64(n) * eps * most
			vt := e.Vectors(n)
			if d := distance(product(vt, vt.T()), identity(n)); d > 8*float64(n)*eps {
				t.Errorf("%s, %d: vectors deviate from orthonormal by %g", name, n, d)
			}
			av := product(vt, a)
			for i := range n {
				for j := range n {
					if d := math.Abs(av.Data[i*n+j] - e.Values()[i]*vt.Data[i*n+j]); !(d <= limit) {
						t.Fatalf("%s, %d: A·v − λ·v has %g for value %d, more than %g", name, n, d, i, limit)
					}
				}
			}
			values := make([]float64, n)
			for i := range values {
				values[i] = value(i, n)
			}
			slices.SortFunc(values, func(x, y float64) int { return cmp.Compare(y, x) })
			for i, v := range e.Values() {
				if !(math.Abs(v-values[i]) <= limit) {
					t.Errorf("%s, %d: value %d is %g, want %g", name, n, i, v, values[i])
				}
			}
		}
	}
}

// TestEigenParts: matrices that fall apart, and vectors of the leading values
// only.
func TestEigenParts(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	const n = 30
	a := newDense(n, n)
	for i := range n { // two blocks and a diagonal
		for j := range i + 1 {
			if i/10 == j/10 && i < 20 || i == j {
				a.Data[i*n+j] = r.NormFloat64()
				a.Data[j*n+i] = a.Data[i*n+j]
			}
		}
	}
	e := NewEigen(a)
	all, some := e.Vectors(n), e.Vectors(7)
	if !slices.Equal(some.Data, all.Data[:7*n]) {
		t.Error("the leading vectors are not those of all")
	}
	av := product(all, a)
	for i := range n {
		axpy(row(av, i), -e.Values()[i], row(all, i))
	}
	if d := distance(av, newDense(n, n)); d > 100*n*eps {
		t.Errorf("A·v − λ·v has %g", d)
	}
}

// TestEigenBits pins the bits: they depend on no kernel, tag or compiler flag.
func TestEigenBits(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	e := NewEigen(symmetric(r, 90, func(i, n int) float64 { return 1 / float64(i+1) }))
	h := fnv.New64a()
	for _, x := range slices.Concat(e.Values(), e.Vectors(20).Data) {
		h.Write(binary.LittleEndian.AppendUint64(nil, math.Float64bits(x)))
	}
	const want = 0x3f7b0918380a5cac
	if got := h.Sum64(); got != want {
		t.Errorf("bits %#x, want %#x", got, uint64(want))
	}
}
