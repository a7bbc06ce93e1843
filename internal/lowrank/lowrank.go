// Package lowrank computes with deltas in factored form, ΔW = Σ wᵢ·Bᵢ·Aᵢ: their
// exact singular values, the best approximation of a rank, the rank that a rule
// asks for. It never forms a matrix of the size of ΔW and knows no files.
package lowrank

import (
	"fmt"
	"math"

	"github.com/loratool/loratool/internal/linalg"
)

// A Mat is a matrix of float64.
type Mat = linalg.Mat[float64]

// A Term is one part of a delta, w·B·A with B out×r and A r×in.
type Term struct {
	Weight float64
	B, A   Mat
}

// A Delta is a sum of terms as its singular value decomposition,
//
//	Σ wᵢ·Bᵢ·Aᵢ = Q_B·U·Σ·Vᵀ·Q_Aᵀ,  Q_B·R_B = [w₁B₁ w₂B₂ …],  Q_A·R_A = [A₁; A₂; …]ᵀ,
//
// with U·Σ·Vᵀ = R_B·R_Aᵀ, a matrix as small as the ranks together.
type Delta struct {
	Out, In int
	Sigma   []float64 // singular values, largest first; at most Σ rᵢ of them
	left    *linalg.QR
	right   *linalg.QR
	u, vt   Mat
	terms   []Term
}

// Decompose finds the singular values of a sum of at least one term. The
// values must be finite, and all terms of one size; it panics if not.
func Decompose(terms []Term) *Delta {
	b, a := stack(terms)
	d := &Delta{Out: b.Rows, In: a.Cols, terms: terms}
	var core Mat
	d.left, d.right, core = reduce(b, a)
	d.u, d.Sigma, d.vt = linalg.SVD(core)
	return d
}

// Norm returns ‖Σ wᵢ·Bᵢ·Aᵢ‖, Frobenius, to full precision also where the terms
// cancel.
func Norm(terms []Term) float64 {
	_, _, core := reduce(stack(terms))
	return norm(core.Data)
}

// RoughNorm is Norm by products alone, ‖Σ wᵢ·Bᵢ·Aᵢ‖² = tr(BᵀB·AAᵀ) with the
// terms side by side: faster, but where terms cancel, what is less than about
// 1e-8 of them is lost.
func RoughNorm(terms []Term) float64 {
	b, a := stack(terms)
	n := a.Rows
	btb, aat := linalg.Dense(make([]float64, n*n), n, n), linalg.Dense(make([]float64, n*n), n, n)
	linalg.Gemm(btb, b.T(), b, false)
	linalg.Gemm(aat, a, a.T(), false)
	sum := 0.0
	for i, x := range btb.Data {
		sum += float64(x * aat.Data[i]) // both are symmetric
	}
	return math.Sqrt(max(0, sum))
}

// stack returns [w₁B₁ w₂B₂ …] and [A₁; A₂; …].
func stack(terms []Term) (b, a Mat) {
	rank, out, in := 0, terms[0].B.Rows, terms[0].A.Cols
	for _, t := range terms {
		if t.B.Rows != out || t.A.Cols != in || t.B.Cols != t.A.Rows {
			panic(fmt.Sprintf("lowrank: term of %d×%d and %d×%d in a delta of %d×%d", t.B.Rows, t.B.Cols, t.A.Rows, t.A.Cols, out, in))
		}
		rank += t.A.Rows
	}
	b, a = linalg.Dense(make([]float64, out*rank), out, rank), linalg.Dense(make([]float64, rank*in), rank, in)
	at := 0
	for _, t := range terms {
		copyInto(b.View(0, at, out, t.B.Cols), t.B, t.Weight)
		copyInto(a.View(at, 0, t.A.Rows, in), t.A, 1)
		at += t.A.Rows
	}
	return b, a
}

// reduce factors b and aᵀ and returns R_B·R_Aᵀ.
func reduce(b, a Mat) (left, right *linalg.QR, core Mat) {
	left, right = linalg.NewQR(b), linalg.NewQR(a.T())
	rb, ra := left.R(), right.R()
	core = linalg.Dense(make([]float64, rb.Rows*ra.Rows), rb.Rows, ra.Rows)
	linalg.Gemm(core, rb, ra.T(), false)
	return left, right, core
}

// copyInto sets dst to w·src.
func copyInto(dst, src Mat, w float64) {
	for i := range src.Rows {
		to := dst.Data[i*dst.RowStride:][:src.Cols]
		for j := range to {
			to[j] = w * src.Data[i*src.RowStride+j*src.ColStride]
		}
	}
}

// Square returns ‖ΔW‖².
func (d *Delta) Square() float64 { return sumSquares(d.Sigma) }

// Factors returns B [out, r] and A [r, in], row-major, such that s·B·A is the
// best approximation of rank r, with the singular values shared out evenly:
// B = Q_B·U·√(Σ/|s|), A = √(Σ/|s|)·Vᵀ·Q_Aᵀ. Beyond the length of Sigma they
// are zero. S must not be zero.
func (d *Delta) Factors(r int, s float64) (b, a []float64) {
	k := min(r, len(d.Sigma))
	us, vs := scaledCols(d.u, d.Sigma, k, s), scaledCols(d.vt.T(), d.Sigma, k, math.Abs(s))
	b, a = make([]float64, d.Out*r), make([]float64, r*d.In)
	if k == 0 {
		return b, a
	}
	bm := linalg.Dense(make([]float64, d.Out*k), d.Out, k)
	at := linalg.Dense(make([]float64, d.In*k), d.In, k)
	d.left.Mul(bm, us)
	d.right.Mul(at, vs)
	for i := range d.Out {
		copy(b[i*r:], bm.Data[i*k:][:k])
	}
	for j := range d.In {
		for i := range k {
			a[i*d.In+j] = at.Data[j*k+i]
		}
	}
	return b, a
}

// scaledCols returns the first k columns of m, each times √(σ/|s|), with the
// sign of s.
func scaledCols(m Mat, sigma []float64, k int, s float64) Mat {
	c := linalg.Dense(make([]float64, m.Rows*k), m.Rows, k)
	for j := range k {
		root := math.Copysign(math.Sqrt(sigma[j]/math.Abs(s)), s)
		for i := range m.Rows {
			c.Data[i*k+j] = root * m.Data[i*m.RowStride+j*m.ColStride]
		}
	}
	return c
}

func norm(x []float64) float64 { return math.Sqrt(sumSquares(x)) }

// sumSquares adds squares in order, without fusing.
func sumSquares(x []float64) float64 {
	sum := 0.0
	for _, v := range x {
		sum += float64(v * v)
	}
	return sum
}
