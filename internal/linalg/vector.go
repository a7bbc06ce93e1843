package linalg

import "math"

// dot returns Σ x_i·y_i, in eight partial sums by i mod 8 that are added by
// halves, so that it is the same bits everywhere: no product is fused.
func dot(x, y []float64) float64 {
	var s0, s1, s2, s3, s4, s5, s6, s7 float64
	n := len(x) &^ 7
	y = y[:len(x)]
	for i := 0; i < n; i += 8 {
		a, b := x[i:i+8:i+8], y[i:i+8:i+8]
		s0 += float64(a[0] * b[0])
		s1 += float64(a[1] * b[1])
		s2 += float64(a[2] * b[2])
		s3 += float64(a[3] * b[3])
		s4 += float64(a[4] * b[4])
		s5 += float64(a[5] * b[5])
		s6 += float64(a[6] * b[6])
		s7 += float64(a[7] * b[7])
	}
	for i := n; i < len(x); i++ {
		s0 += float64(x[i] * y[i])
	}
	return ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7))
}

// axpy adds a·x to y.
func axpy(y []float64, a float64, x []float64) {
	y = y[:len(x)]
	for i, v := range x {
		y[i] += float64(a * v)
	}
}

// scal multiplies x by a.
func scal(x []float64, a float64) {
	for i := range x {
		x[i] *= a
	}
}

// rotate replaces the rows x and y by c·x − s·y and s·x + c·y, c = 1 − s·h, in
// Rutishauser's form (1966), whose rounding errors shrink with the angle and
// do not lengthen the rows.
func rotate(x, y []float64, s, h float64) {
	y = y[:len(x)]
	for i, a := range x {
		b := y[i]
		x[i] = a - float64(s*(b+float64(h*a)))
		y[i] = b + float64(s*(a-float64(h*b)))
	}
}

// exponentOf returns e such that the largest magnitude in m is below 2^e, and
// at least 2^(e-1); 0 for a matrix of zeros. Where m is not finite the result
// is arbitrary.
func exponentOf(m Mat[float64]) int {
	most := 0.0
	for i := range m.Rows {
		for j := range m.Cols {
			most = max(most, math.Abs(m.Data[i*m.RowStride+j*m.ColStride]))
		}
	}
	if most == 0 || math.IsInf(most, 0) || math.IsNaN(most) {
		return 0
	}
	_, e := math.Frexp(most)
	return e
}
