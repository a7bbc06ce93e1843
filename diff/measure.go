// Package diff measures deltas, of two checkpoints or of adapters, and extracts
// adapters from checkpoints. Deltas of adapters are measured from their factors,
// without forming a [out, in] matrix. It writes no files and knows no command
// line.
package diff

import (
	"cmp"
	"math"
	"slices"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/internal/linalg"
)

// A Measure is what the factors of one module say about its delta
// ΔW = s·B·A.
type Measure struct {
	Norm       float64   // ‖ΔW‖, Frobenius
	Largest    float64   // σ₁
	StableRank float64   // ‖ΔW‖²/σ₁², 0 for a zero delta
	ZeroA      bool      // every element of A is zero
	ZeroB      bool      // every element of B is zero: the module was not trained
	NaN, Inf   int       // in A and B; with any, the norms are NaN
	Spectrum   []float64 // singular values, largest first; nil unless asked for
}

// Options ask for more than the norms.
type Options struct {
	Spectrum bool
}

// MeasureModule measures the delta of a module of an adapter. The singular
// values are those of an r×r matrix with the same ones,
//
//	σ²(B·A) = λ(S·AAᵀ·Sᵀ),  SᵀS = BᵀB,
//
// in float64; values below about 1e-8·σ₁ are not resolved. For a stack of
// experts the norm is that of the whole stack, the largest singular value and
// the spectrum are those of the experts together.
func MeasureModule(m *adapter.Module, o Options) (Measure, error) {
	experts := 1
	if m.Rank > 0 {
		experts = max(1, m.A.Shape[0]/m.Rank)
	}
	rank := m.A.Shape[0] / experts
	a, b := decode(m.A), decode(m.B)
	in, out := len(a)/m.A.Shape[0], m.B.Shape[0]
	var r Measure
	r.scan(a, b)
	// Factors of an adapter that is refused may not fit, and nested parameters
	// of several ranks can be told apart with the base only.
	if unknown := len(b) != out*m.A.Shape[0] || m.Scales != nil; unknown || r.NaN+r.Inf > 0 {
		r.Norm, r.Largest, r.StableRank = math.NaN(), math.NaN(), math.NaN()
		return r, nil
	}
	s := math.Abs(m.Scaling())
	square := 0.0
	for e := range experts {
		ae := linalg.Mat[float64]{Data: a[e*rank*in:], Rows: rank, Cols: in, RowStride: in, ColStride: 1}
		be := linalg.Mat[float64]{Data: b[e:], Rows: out, Cols: rank, RowStride: experts * rank, ColStride: experts}
		aat, btb := gram(ae), gram(be.T())
		square += float64(s * s * max(0, trace(btb, aat)))
		for _, v := range singular(aat, btb) {
			r.Largest = max(r.Largest, s*v)
			if o.Spectrum {
				r.Spectrum = append(r.Spectrum, s*v)
			}
		}
	}
	r.Norm = math.Sqrt(square)
	if r.Largest > 0 {
		r.StableRank = square / (r.Largest * r.Largest)
	}
	slices.SortFunc(r.Spectrum, func(x, y float64) int { return cmp.Compare(y, x) })
	return r, nil
}

func decode(t adapter.Tensor) []float64 {
	x := make([]float64, t.Elements())
	t.DType.Decode64(x, t.Bytes)
	return x
}

func (r *Measure) scan(a, b []float64) {
	r.ZeroA, r.ZeroB = true, true
	count := func(x []float64, zero *bool) {
		for _, v := range x {
			switch {
			case math.IsNaN(v):
				r.NaN++
			case math.IsInf(v, 0):
				r.Inf++
			}
			if v != 0 {
				*zero = false
			}
		}
	}
	count(a, &r.ZeroA)
	count(b, &r.ZeroB)
}

// gram returns M·Mᵀ.
func gram(m linalg.Mat[float64]) linalg.Mat[float64] {
	g := linalg.Dense(make([]float64, m.Rows*m.Rows), m.Rows, m.Rows)
	linalg.Gemm(g, m, m.T(), false)
	return g
}

// singular returns the singular values of B·A from AAᵀ and BᵀB, largest first.
func singular(aat, btb linalg.Mat[float64]) []float64 {
	n := aat.Rows
	root := cholesky(btb)
	left, core := linalg.Dense(make([]float64, n*n), n, n), linalg.Dense(make([]float64, n*n), n, n)
	linalg.Gemm(left, root, aat, false)
	linalg.Gemm(core, left, root.T(), false)
	for i := range n {
		for j := range i {
			mean := (core.Data[i*n+j] + core.Data[j*n+i]) / 2
			core.Data[i*n+j], core.Data[j*n+i] = mean, mean
		}
	}
	return roots(linalg.NewEigen(core).Values())
}

// cholesky returns S with SᵀS = g, which is positive semidefinite: the Cholesky
// factor with the largest pivot first (Higham 2002, algorithm 10.3), up to the
// first that is rounding.
func cholesky(g linalg.Mat[float64]) linalg.Mat[float64] {
	n := g.Rows
	rest, s := slices.Clone(g.Data), linalg.Dense(make([]float64, n*n), n, n)
	first := 0.0
	for k := range n {
		pivot := 0
		for i := range n {
			if rest[i*n+i] > rest[pivot*n+pivot] {
				pivot = i
			}
		}
		p := rest[pivot*n+pivot]
		if k == 0 {
			first = p
		}
		if p <= float64(n)*0x1p-53*first {
			break
		}
		row, root := s.Data[k*n:(k+1)*n], math.Sqrt(p)
		for j := range n {
			row[j] = rest[pivot*n+j] / root
		}
		for i := range n {
			for j := range n {
				rest[i*n+j] -= float64(row[i] * row[j])
			}
		}
		for j := range n { // zero but for rounding
			rest[pivot*n+j], rest[j*n+pivot] = 0, 0
		}
	}
	return s
}

// trace returns tr(X·Y) of two square matrices: with BᵀB and AAᵀ it is ‖B·A‖².
func trace(x, y linalg.Mat[float64]) float64 {
	n, sum := x.Rows, 0.0
	for i := range n {
		for k := range n {
			sum += float64(x.Data[i*n+k] * y.Data[k*n+i])
		}
	}
	return sum
}
