package linalg

import "math"

// wideCols is how many columns of float32 matrices are converted to float64 at
// once.
const wideCols = 512

// gramOf computes C ← A·Bᵀ in float64 of float32 matrices with as many columns
// each: one chain per element, in the order of the columns.
func gramOf(a, b Mat[float32]) Mat[float64] {
	c := Dense(make([]float64, a.Rows*b.Rows), a.Rows, b.Rows)
	wa, wb := make([]float64, a.Rows*wideCols), make([]float64, b.Rows*wideCols)
	for col := 0; col < a.Cols; col += wideCols {
		n := min(wideCols, a.Cols-col)
		Gemm(c, widen(wa, a.View(0, col, a.Rows, n)), widen(wb, b.View(0, col, b.Rows, n)).T(), col > 0)
	}
	return c
}

// widen copies a row-major matrix into dst.
func widen(dst []float64, src Mat[float32]) Mat[float64] {
	for i := range src.Rows {
		to := dst[i*src.Cols:][:src.Cols]
		for j, x := range src.Data[i*src.RowStride:][:src.Cols] {
			to[j] = float64(x)
		}
	}
	return Dense(dst[:src.Rows*src.Cols], src.Rows, src.Cols)
}

// transform computes Y ← M·Y, in float64 and rounded once.
func transform(m Mat[float64], y Mat[float32]) {
	in, out := make([]float64, y.Rows*wideCols), make([]float64, y.Rows*wideCols)
	for col := 0; col < y.Cols; col += wideCols {
		v := y.View(0, col, y.Rows, min(wideCols, y.Cols-col))
		r := Dense(out[:v.Rows*v.Cols], v.Rows, v.Cols)
		Gemm(r, m, widen(in, v), false)
		for i := range v.Rows {
			row := v.Data[i*v.RowStride:][:v.Cols]
			for j := range row {
				row[j] = float32(r.Data[i*v.Cols+j])
			}
		}
	}
}

// Orthonormalize makes the rows of y orthonormal, to the precision of float32,
// and keeps their span: twice y ← L⁻¹·y with L·Lᵀ = y·yᵀ in float64 (CholeskyQR2,
// Yamamoto et al. 2015). Where y is too near to a dependence for that, its rows
// are replaced by those of a Householder QR, which completes the span to y.Rows
// dimensions, in directions that mean nothing; then it returns false. Y has at
// least as many columns as rows.
func Orthonormalize(y Mat[float32]) (independent bool) {
	for range 2 {
		inverse, ok := choleskyInverse(gramOf(y, y))
		if !ok {
			householder(y)
			return false
		}
		transform(inverse, y)
	}
	return true
}

// leastPivot is the smallest pivot, relative to a diagonal of ones, with which
// a Cholesky factor is used: below it, float32 data say nothing about the
// direction, and float64 sums of 2^17 of them are not much better.
const leastPivot = 1e-12

// choleskyInverse returns L⁻¹ of the Cholesky factor of g, or false if g is
// not safely positive definite. The rows are scaled to ones on the diagonal
// first, which makes L nearly as well conditioned as scaling can (van der
// Sluis 1969).
func choleskyInverse(g Mat[float64]) (inverse Mat[float64], ok bool) {
	n := g.Rows
	scale := make([]float64, n)
	for i := range n {
		scale[i] = 1 / math.Sqrt(g.Data[i*n+i])
		if !finite(scale[i]) || scale[i] == 0 {
			return g, false
		}
	}
	l := make([]float64, n*n)
	for i := range n {
		for j := range i + 1 {
			s := g.Data[i*n+j] * scale[i] * scale[j]
			for k := range j {
				s = math.FMA(-l[i*n+k], l[j*n+k], s)
			}
			switch {
			case i > j:
				l[i*n+j] = s / l[j*n+j]
			case s > leastPivot:
				l[i*n+i] = math.Sqrt(s)
			default:
				return g, false
			}
		}
	}
	return invertLower(l, scale), true
}

// invertLower returns L⁻¹·diag(scale) of a lower triangle.
func invertLower(l, scale []float64) Mat[float64] {
	n := len(scale)
	x := make([]float64, n*n)
	for j := range n {
		x[j*n+j] = 1 / l[j*n+j]
		for i := j + 1; i < n; i++ {
			s := 0.0
			for k := j; k < i; k++ {
				s = math.FMA(-l[i*n+k], x[k*n+j], s)
			}
			x[i*n+j] = s / l[i*n+i]
		}
	}
	for i := range n {
		for j := range i + 1 {
			x[i*n+j] *= scale[j]
		}
	}
	return Dense(x, n, n)
}

// householder replaces the rows of y by orthonormal ones whose span contains
// theirs, scaled to a largest element of 1 so that no square underflows.
func householder(y Mat[float32]) {
	a := newDense(y.Cols, y.Rows)
	for i := range y.Rows {
		row := y.Data[i*y.RowStride:][:y.Cols]
		largest := 0.0
		for _, x := range row {
			largest = max(largest, math.Abs(float64(x)))
		}
		if largest == 0 {
			largest = 1
		}
		for j, x := range row {
			a.Data[j*y.Rows+i] = float64(x) / largest
		}
	}
	q, unit := newDense(y.Cols, y.Rows), newDense(y.Rows, y.Rows)
	for i := range y.Rows {
		unit.Data[i*y.Rows+i] = 1
	}
	NewQR(a).Mul(q, unit)
	for i := range y.Rows {
		row := y.Data[i*y.RowStride:][:y.Cols]
		for j := range row {
			row[j] = float32(q.Data[j*y.Rows+i])
		}
	}
}

// projectOut computes Y ← Y − (Y·Qᵀ)·Q: it takes the span of the orthonormal
// rows of q out of the rows of y. It returns the squared lengths of what it
// took.
func projectOut(y, q Mat[float32]) []float64 {
	taken := make([]float64, y.Rows)
	if q.Rows == 0 {
		return taken
	}
	c := gramOf(y, q)
	minus := Dense(make([]float32, len(c.Data)), c.Rows, c.Cols)
	for i, x := range c.Data {
		minus.Data[i] = float32(-x)
		taken[i/c.Cols] += float64(x * x)
	}
	Gemm(y, minus, q, true)
	return taken
}
