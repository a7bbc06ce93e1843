package linalg

import (
	"cmp"
	"math"
	"slices"
)

// maxSweeps bounds the sweeps of the Jacobi method; it needs about ten, and
// without a bound a NaN would keep it turning.
const maxSweeps = 60

// SVD returns the singular value decomposition A = U·diag(S)·Vᵀ of an m×n
// matrix, with k = min(m, n): U is m×k, S has k values, the largest first, Vᵀ
// is k×n. A must be finite. The columns of U are orthonormal; so are the rows
// of Vᵀ but for those of singular values that are zero, which are zero too.
//
// It is the one-sided Jacobi method on the rows of a QR factor with column
// pivoting (Drmač and Veselić 2008, algorithm 4, without its shortcuts): small
// singular values are found to nearly full relative precision. The work grows
// with k³; it is meant for k of a few hundred.
func SVD(a Mat[float64]) (u Mat[float64], s []float64, vt Mat[float64]) {
	a.check()
	if a.Rows < a.Cols {
		v, s, ut := SVD(a.T())
		return transpose(ut), s, transpose(v)
	}
	e := exponentOf(a)
	outer := NewQR(a)
	work := newDense(a.Cols, a.Cols)
	copyScaled(work, outer.R(), -e)
	inner, order := pivotedQR(work)
	x := newDense(a.Cols, a.Cols)
	copyScaled(x, inner.R(), 0)
	turned := jacobi(x)
	s, vt = normalize(x, turned)
	vt = unpermute(vt, order)
	j, qj := transpose(turned), newDense(a.Cols, a.Cols)
	inner.Mul(qj, j)
	u = newDense(a.Rows, a.Cols)
	outer.Mul(u, qj)
	for i := range s {
		s[i] = math.Ldexp(s[i], e)
	}
	return u, s, vt
}

// pivotedQR factors the square matrix m with its columns in the order that it
// returns: each is the longest of those left, orthogonal to those before.
func pivotedQR(m Mat[float64]) (*QR, []int) {
	n := m.Cols
	cols := transpose(m)
	order, squares := make([]int, n), make([]float64, n)
	for j := range n {
		order[j], squares[j] = j, dot(row(cols, j), row(cols, j))
	}
	v := make([]float64, n)
	for i := range n {
		for j := i; j < n; j++ { // computed anew: downdating cancels
			squares[j] = dot(row(cols, j)[i:], row(cols, j)[i:])
		}
		longest := i
		for j := i + 1; j < n; j++ {
			if squares[j] > squares[longest] {
				longest = j
			}
		}
		swapRows(cols, i, longest)
		order[i], order[longest] = order[longest], order[i]
		_, tau := reflector(v[i:], row(cols, i)[i:])
		for j := i; j < n; j++ {
			other := row(cols, j)[i:]
			axpy(other, -float64(tau*dot(v[i:], other)), v[i:])
		}
	}
	sorted := newDense(n, n)
	for j, from := range order {
		for i := range n {
			sorted.Data[i*n+j] = m.Data[i*m.RowStride+from*m.ColStride]
		}
	}
	return NewQR(sorted), order
}

// jacobi turns the rows of x, a square matrix, until they are orthogonal:
// x ← J·x with J orthogonal, which it returns.
func jacobi(x Mat[float64]) Mat[float64] {
	n := x.Rows
	turned := newDense(n, n)
	for i := range n {
		turned.Data[i*n+i] = 1
	}
	// As LAPACK's dgesvj.
	tolerance := math.Sqrt(float64(n)) * 0x1p-53
	squares := make([]float64, n)
	for range maxSweeps {
		for i := range n {
			squares[i] = dot(row(x, i), row(x, i))
		}
		if !sweep(x, turned, squares, tolerance) {
			break
		}
	}
	return turned
}

// sweep turns every pair of rows once, the longer first (de Rijk 1989), and
// reports whether one was not orthogonal.
func sweep(x, turned Mat[float64], squares []float64, tolerance float64) bool {
	again := false
	for p := range x.Rows {
		longest := p
		for q := p + 1; q < x.Rows; q++ {
			if squares[q] > squares[longest] {
				longest = q
			}
		}
		swapRows(x, p, longest)
		swapRows(turned, p, longest)
		squares[p], squares[longest] = squares[longest], squares[p]
		for q := p + 1; q < x.Rows; q++ {
			gamma := dot(row(x, p), row(x, q))
			if math.Abs(gamma) <= tolerance*math.Sqrt(squares[p])*math.Sqrt(squares[q]) {
				continue
			}
			again = true
			s, h, t := rotation(squares[p], squares[q], gamma)
			rotate(row(x, p), row(x, q), s, h)
			rotate(row(turned, p), row(turned, q), s, h)
			squares[p] = max(0, squares[p]-float64(t*gamma))
			squares[q] = max(0, squares[q]+float64(t*gamma))
		}
	}
	return again
}

// rotation returns the sine, the tangent of the half and the tangent of the
// smaller angle that makes two rows of squared lengths a and b and product g
// orthogonal.
func rotation(a, b, g float64) (s, h, t float64) {
	zeta := (b - a) / (2 * g)
	t = 1 / (math.Abs(zeta) + math.Sqrt(1+float64(zeta*zeta)))
	if math.IsInf(zeta*zeta, 0) {
		t = 1 / (2 * math.Abs(zeta))
	}
	t = math.Copysign(t, zeta)
	c := 1 / math.Sqrt(1+float64(t*t))
	s = float64(c * t)
	return s, s / (1 + c), t
}

// normalize sorts orthogonal rows by their lengths, which it returns with the
// unit rows; the rows of turned follow.
func normalize(x, turned Mat[float64]) ([]float64, Mat[float64]) {
	n := x.Rows
	lengths, order := make([]float64, n), make([]int, n)
	for i := range n {
		lengths[i], order[i] = math.Sqrt(dot(row(x, i), row(x, i))), i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(lengths[j], lengths[i]) })
	s, unit, sorted := make([]float64, n), newDense(n, n), newDense(n, n)
	for i, from := range order {
		copy(row(sorted, i), row(turned, from))
		if s[i] = lengths[from]; s[i] == 0 {
			continue
		}
		for j, v := range row(x, from) {
			unit.Data[i*n+j] = v / s[i]
		}
	}
	copy(turned.Data, sorted.Data)
	return s, unit
}

// unpermute puts column i of m into column order[i].
func unpermute(m Mat[float64], order []int) Mat[float64] {
	out := newDense(m.Rows, m.Cols)
	for i := range m.Rows {
		for j, to := range order {
			out.Data[i*m.Cols+to] = m.Data[i*m.Cols+j]
		}
	}
	return out
}

func swapRows(m Mat[float64], i, j int) {
	if i == j {
		return
	}
	a, b := row(m, i), row(m, j)
	for k := range a {
		a[k], b[k] = b[k], a[k]
	}
}

// transpose returns a copy of mᵀ.
func transpose(m Mat[float64]) Mat[float64] {
	t := newDense(m.Cols, m.Rows)
	copyScaled(t, m.T(), 0)
	return t
}
