package linalg

import "math"

// panelCols is the number of reflectors that are found column by column
// before the rest of the matrix is updated by products. 8 is the fastest of 4,
// 8, 16 and 32 for matrices of 4096 to 14336 rows and 32 columns.
const panelCols = 8

// A QR is the factorization M = Q·R of an m×n matrix by Householder
// reflections (Golub and Van Loan 2013, section 5.2), with k = min(m, n): Q is
// m×k with orthonormal columns, kept as I − V·T·Vᵀ (Schreiber and Van Loan
// 1989), R is k×n, upper triangular. It works for every rank.
type QR struct {
	vt Mat[float64] // Vᵀ, k×m: row i has zeros before its i-th element, which is 1
	t  Mat[float64] // k×k, upper triangular
	r  Mat[float64]
}

// NewQR factors a copy of m.
func NewQR(m Mat[float64]) *QR {
	m.check()
	k := min(m.Rows, m.Cols)
	q := &QR{vt: newDense(k, m.Rows), t: newDense(k, k), r: newDense(k, m.Cols)}
	e := exponentOf(m)
	cols := newDense(m.Cols, m.Rows) // Mᵀ, so that columns are contiguous
	copyScaled(cols, m.T(), -e)
	tau := make([]float64, k)
	for j := 0; j < k; j += panelCols {
		q.panel(cols, j, min(panelCols, k-j), tau)
	}
	for i := range k { // what lies right of the square part
		for j := k; j < m.Cols; j++ {
			q.r.Data[i*q.r.RowStride+j] = cols.Data[j*cols.RowStride+i]
		}
	}
	copyScaled(q.r, q.r, e)
	compactWY(q.t, q.vt, tau)
	return q
}

// panel finds the reflectors of columns j…j+n-1 and applies them to the
// columns after.
func (q *QR) panel(cols Mat[float64], j, n int, tau []float64) {
	m := cols.Cols
	for i := j; i < j+n; i++ {
		column := row(cols, i)
		v := row(q.vt, i)
		for l := range i {
			q.r.Data[l*q.r.RowStride+i] = column[l]
		}
		q.r.Data[i*q.r.RowStride+i], tau[i] = reflector(v[i:], column[i:])
		for l := i + 1; l < j+n; l++ {
			other := row(cols, l)[i:]
			axpy(other, -float64(tau[i]*dot(v[i:], other)), v[i:])
		}
	}
	rest := cols.Rows - j - n
	if rest == 0 {
		return
	}
	// C ← (I − V·T·Vᵀ)ᵀ·C, as Cᵀ ← Cᵀ − (Cᵀ·V)·T·Vᵀ.
	vt, ct := q.vt.View(j, j, n, m-j), cols.View(j+n, j, rest, m-j)
	t := newDense(n, n)
	compactWY(t, vt, tau[j:j+n])
	w, wt := newDense(rest, n), newDense(rest, n)
	Gemm(w, ct, vt.T(), false)
	Gemm(wt, w, t, false)
	scal(wt.Data, -1)
	Gemm(ct, wt, vt, true)
}

// reflector sets v, with v_0 = 1, and returns β and τ such that
// (I − τ·v·vᵀ)·x = β·e_0.
func reflector(v, x []float64) (beta, tau float64) {
	v[0] = 1
	tail := dot(x[1:], x[1:])
	if tail == 0 {
		clear(v[1:])
		return x[0], 0
	}
	beta = -math.Copysign(math.Sqrt(float64(x[0]*x[0])+tail), x[0])
	inverse := 1 / (x[0] - beta)
	for i, a := range x[1:] {
		v[i+1] = a * inverse
	}
	return beta, (beta - x[0]) / beta
}

// compactWY sets t such that the product of the reflectors I − τ_i·v_i·v_iᵀ
// is I − V·T·Vᵀ; the rows of vt are the v_i.
func compactWY(t, vt Mat[float64], tau []float64) {
	k := len(tau)
	gram := newDense(k, k)
	Gemm(gram, vt, vt.T(), false)
	for j := range k {
		for i := range j {
			sum := 0.0
			for l := i; l < j; l++ {
				sum += float64(t.Data[i*t.RowStride+l] * gram.Data[l*k+j])
			}
			t.Data[i*t.RowStride+j] = -float64(tau[j] * sum)
		}
		t.Data[j*t.RowStride+j] = tau[j]
	}
}

// R returns the k×n upper triangular factor. The caller must not change it.
func (q *QR) R() Mat[float64] { return q.r }

// Rows returns the number of rows of Q.
func (q *QR) Rows() int { return q.vt.Cols }

// Mul computes C ← Q·X for X of k rows. C is m×X.Cols with ColStride 1 and
// shares no memory with X.
func (q *QR) Mul(c, x Mat[float64]) {
	k := q.vt.Rows
	w, tw := newDense(k, x.Cols), newDense(k, x.Cols)
	Gemm(w, q.vt.View(0, 0, k, k), x, false)
	Gemm(tw, q.t, w, false)
	scal(tw.Data, -1)
	clearMat(c)
	copyScaled(c.View(0, 0, k, x.Cols), x, 0)
	Gemm(c, q.vt.T(), tw, true)
}

// newDense returns a rows×cols matrix of zeros.
func newDense(rows, cols int) Mat[float64] { return Dense(make([]float64, rows*cols), rows, cols) }

// row returns row i of a matrix of ColStride 1.
func row(m Mat[float64], i int) []float64 { return m.Data[i*m.RowStride:][:m.Cols] }

// copyScaled sets dst to src·2^e; they may be the same.
func copyScaled(dst, src Mat[float64], e int) {
	// A scale beyond float64's range is applied in two steps.
	half := e / 2
	a, b := math.Ldexp(1, half), math.Ldexp(1, e-half)
	for i := range dst.Rows {
		d := row(dst, i)
		for j := range d {
			d[j] = src.Data[i*src.RowStride+j*src.ColStride] * a * b
		}
	}
}
