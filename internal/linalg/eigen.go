package linalg

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// An Eigen is a symmetric matrix as Q·T·Qᵀ with a tridiagonal T, by
// Householder reflections (Golub and Van Loan 2013, algorithm 8.3.1), and its
// eigenvalues, from implicit QL steps on T (Dubrulle, Martin and Wilkinson
// 1968). Vectors are found when they are asked for. Like everything here that
// ends up in a file, it is the same bits everywhere.
type Eigen struct {
	values         []float64 // descending
	diagonal, off  []float64 // of T, its last row first: the reflections leave large values at the top
	reflectors     Mat[float64]
	taus           []float64
	exponent, size int
}

// NewEigen decomposes a copy of the symmetric matrix a, of which the values
// must be finite; it panics if not.
func NewEigen(a Mat[float64]) *Eigen {
	a.check()
	if a.Rows != a.Cols {
		panic(fmt.Sprintf("linalg: eigenvalues of a %d×%d matrix", a.Rows, a.Cols))
	}
	e := &Eigen{size: a.Rows, exponent: exponentOf(a)}
	work := newDense(a.Rows, a.Rows)
	copyScaled(work, a, -e.exponent)
	e.tridiagonalize(work)
	d, off := slices.Clone(e.diagonal), slices.Clone(e.off)
	implicitQL(d, off, Mat[float64]{})
	for i := range d {
		d[i] = math.Ldexp(d[i], e.exponent)
	}
	slices.SortFunc(d, func(x, y float64) int { return cmp.Compare(y, x) })
	e.values = d
	return e
}

// Values returns the eigenvalues, largest first.
func (e *Eigen) Values() []float64 { return e.values }

// tridiagonalize reduces a, which it destroys.
func (e *Eigen) tridiagonalize(a Mat[float64]) {
	n := e.size
	e.diagonal, e.off, e.taus = make([]float64, n), make([]float64, max(0, n-1)), make([]float64, max(0, n-1))
	e.reflectors = newDense(max(0, n-1), n)
	p := make([]float64, n)
	for k := range max(0, n-1) {
		v := row(e.reflectors, k)[k+1:]
		e.off[k], e.taus[k] = reflector(v, row(a, k)[k+1:])
		tau, m := e.taus[k], n-k-1
		if tau == 0 {
			continue
		}
		w := p[:m] // A ← H·A·H = A − v·wᵀ − w·vᵀ with p = τ·A·v, w = p − (τ·pᵀv/2)·v
		for i := range m {
			w[i] = float64(tau * dot(row(a, k+1+i)[k+1:], v))
		}
		axpy(w, -float64(tau*dot(w, v))/2, v)
		for i := range m {
			x, vi, wi := row(a, k+1+i)[k+1:], v[i], w[i]
			for j := range x {
				x[j] -= float64(vi*w[j]) + float64(wi*v[j])
			}
		}
	}
	for i := range n {
		e.diagonal[n-1-i] = a.Data[i*a.RowStride+i]
	}
	slices.Reverse(e.off)
}

// An eigenvalue needs about two QL steps. After usualSteps what is negligible
// grows, so that rounding cannot keep it from being found; with a NaN even
// maxSteps are too few.
const (
	usualSteps = 12
	maxSteps   = 60
)

// implicitQL turns d into the eigenvalues of the tridiagonal matrix with the
// diagonal d and, beside it, e, which it destroys. The rotations are applied
// to the rows of zt, if it has any: from the identity, row i becomes the
// eigenvector of d[i]. Steps converge fast where small values lie before large
// ones.
func implicitQL(d, e []float64, zt Mat[float64]) {
	n, most := len(d), 0.0
	for i, x := range d {
		most = max(most, math.Abs(x))
		if i < n-1 {
			most = max(most, math.Abs(e[i]))
		}
	}
	// The reflections have changed T by as much, √n roundings, and steps that
	// bring zeros and large values together do again.
	negligible := math.Sqrt(float64(n)) * 0x1p-52 * most
	for l := range n {
		limit := negligible
		for steps := 0; ; steps++ {
			if steps > usualSteps {
				limit *= 2
			}
			m := l
			for m < n-1 && math.Abs(e[m]) > max(limit, 0x1p-53*(math.Abs(d[m])+math.Abs(d[m+1]))) {
				m++
			}
			if m == l {
				break
			}
			if steps == maxSteps {
				panic("linalg: eigenvalues of a matrix that is not finite")
			}
			stepQL(d, e, zt, l, m)
		}
	}
}

// stepQL does one step on rows l to m, with the shift of Wilkinson.
func stepQL(d, e []float64, zt Mat[float64], l, m int) {
	g := (d[l+1] - d[l]) / (2 * e[l])
	g = d[m] - d[l] + e[l]/(g+math.Copysign(length(g, 1), g))
	s, c, p := 1.0, 1.0, 0.0
	for i := m - 1; i >= l; i-- {
		f, b := float64(s*e[i]), float64(c*e[i])
		r := length(f, g)
		if i+1 < m {
			e[i+1] = r
		}
		if r == 0 { // the matrix falls apart here
			d[i+1] -= p
			if m < len(e) {
				e[m] = 0
			}
			return
		}
		s, c = f/r, g/r
		g = d[i+1] - p
		r = float64((d[i]-g)*s) + float64(2*c*b)
		p = float64(s * r)
		d[i+1] = g + p
		g = float64(c*r) - b
		if zt.Rows > 0 {
			turn(row(zt, i), row(zt, i+1), c, s)
		}
	}
	d[l] -= p
	e[l] = g
	if m < len(e) {
		e[m] = 0
	}
}

// turn replaces the rows x and y by c·x − s·y and s·x + c·y.
func turn(x, y []float64, c, s float64) {
	y = y[:len(x)]
	for i, a := range x {
		b := y[i]
		x[i] = float64(c*a) - float64(s*b)
		y[i] = float64(s*a) + float64(c*b)
	}
}

// length returns √(x²+y²). Math.Hypot is not the same everywhere.
func length(x, y float64) float64 {
	x, y = math.Abs(x), math.Abs(y)
	if x < y {
		x, y = y, x
	}
	if y == 0 {
		return x
	}
	q := y / x
	return x * math.Sqrt(1+float64(q*q))
}

// Vectors returns the eigenvectors of the n largest eigenvalues, as rows.
func (e *Eigen) Vectors(n int) Mat[float64] {
	d, off := slices.Clone(e.diagonal), slices.Clone(e.off)
	zt := newDense(e.size, e.size)
	for i := range e.size {
		zt.Data[i*e.size+e.size-1-i] = 1
	}
	implicitQL(d, off, zt)
	order := make([]int, e.size)
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(d[j], d[i]) })
	leading := newDense(n, e.size)
	for i := range n {
		copy(row(leading, i), row(zt, order[i]))
	}
	return e.back(leading)
}

// back computes X ← X·Qᵀ for eigenvectors of T as rows: Q = H₀·H₁·…, each of
// which leaves the rows before its own alone.
func (e *Eigen) back(x Mat[float64]) Mat[float64] {
	k := len(e.taus)
	if k == 0 || x.Rows == 0 {
		return x
	}
	// Q = I − V·T·Vᵀ, so X·Qᵀ = X − (X·V)·Tᵀ·Vᵀ.
	t, xv, xvt := newDense(k, k), newDense(x.Rows, k), newDense(x.Rows, k)
	compactWY(t, e.reflectors, e.taus)
	Gemm(xv, x, e.reflectors.T(), false)
	Gemm(xvt, xv, t.T(), false)
	scal(xvt.Data, -1)
	Gemm(x, xvt, e.reflectors, true)
	return x
}
