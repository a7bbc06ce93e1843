package cpu

import (
	"math"

	"github.com/loratool/loratool/internal/linalg"
)

// lanes is the number of values that kernels take at a time, and of the
// partial sums of a row.
const lanes = 16

// An isa is one implementation of the kernels.
type isa uint8

const (
	generic isa = iota
	avx2
	avx512
)

// best returns the implementation that linalg uses.
func best() isa {
	switch linalg.Kernel() {
	case "avx512":
		return avx512
	case "avx2":
		return avx2
	}
	return generic
}

// whole returns how many of n values an implementation takes; the rest is
// left to the loops here, which compute the same bits.
func (i isa) whole(n int) int {
	if i == generic {
		return 0
	}
	return n / lanes * lanes
}

// addScaled computes y ← y + f·x.
func (i isa) addScaled(y, x []float32, f float32) {
	n := i.whole(len(x))
	if n > 0 {
		addScaledPart(i, y[:n], x[:n], f)
	}
	for j := n; j < len(x); j++ {
		y[j] += float32(x[j] * f)
	}
}

// scale computes x ← f·x.
func (i isa) scale(x []float32, f float32) {
	n := i.whole(len(x))
	if n > 0 {
		scalePart(i, x[:n], f)
	}
	for j := n; j < len(x); j++ {
		x[j] *= f
	}
}

// most returns the largest of x, NaN left out and −0 as +0; −Inf of none.
func (i isa) most(x []float32) float32 {
	var top [lanes]float32
	for l := range top {
		top[l] = float32(math.Inf(-1))
	}
	n := i.whole(len(x))
	if n > 0 {
		mostPart(i, x[:n], &top)
	}
	largest := top[0]
	for _, v := range top[1:] {
		if v > largest {
			largest = v
		}
	}
	for _, v := range x[n:] {
		if v > largest {
			largest = v
		}
	}
	return largest + 0
}

// gate computes h ← g/(1+h)·u.
func (i isa) gate(h, g, u []float32) {
	n := i.whole(len(h))
	if n > 0 {
		gatePart(i, h[:n], g[:n], u[:n])
	}
	for j := n; j < len(h); j++ {
		h[j] = g[j] / (1 + h[j]) * u[j]
	}
}

// gateGrad turns g and u into the gradients of gate, with e = exp(−g).
func (i isa) gateGrad(g, u, dh, e []float32) {
	n := i.whole(len(g))
	if n > 0 {
		gateGradPart(i, g[:n], u[:n], dh[:n], e[:n])
	}
	for j := n; j < len(g); j++ {
		x, a := g[j], 1/(1+e[j])
		d, v := dh[j], u[j]
		u[j] = d * float32(x*a)
		g[j] = float32(float32(d*v)*a) * (1 + float32(x*(1-a)))
	}
}

// normalise computes y ← ((x−mean)·rstd)·gamma.
func (i isa) normalise(y, x, gamma []float32, mean, rstd float32) {
	n := i.whole(len(x))
	if n > 0 {
		normalisePart(i, y[:n], x[:n], gamma[:n], mean, rstd)
	}
	for j := n; j < len(x); j++ {
		y[j] = float32((x[j]-mean)*rstd) * gamma[j]
	}
}

// normSum returns Σ dy·gamma·((x−mean)·rstd) in float64: element j goes to
// lane j mod 16, and the lanes are added by halves.
func (i isa) normSum(dy, x, gamma []float32, mean, rstd float32) float64 {
	var sums [lanes]float64
	n := i.whole(len(x))
	if n > 0 {
		normSumPart(i, dy[:n], x[:n], gamma[:n], mean, rstd, &sums)
	}
	for j := n; j < len(x); j++ {
		xh := float64((x[j] - mean) * rstd)
		sums[j%lanes] += float64(float64(dy[j]) * float64(gamma[j]) * xh)
	}
	return sumLanes(&sums)
}

// normGrad computes dx ← dx + rstd·(dy·gamma − mg − ((x−mean)·rstd)·mgx).
func (i isa) normGrad(dx, dy, x, gamma []float32, mean, rstd, mg, mgx float32) {
	n := i.whole(len(x))
	if n > 0 {
		normGradPart(i, dx[:n], dy[:n], x[:n], gamma[:n], mean, rstd, mg, mgx)
	}
	for j := n; j < len(x); j++ {
		xh := float32((x[j] - mean) * rstd)
		g := float32(dy[j]*gamma[j]) - mg
		dx[j] += float32(rstd * (g - float32(xh*mgx)))
	}
}

// scoreGrad computes x ← x·inverse and g ← x·(g−d)·scale.
func (i isa) scoreGrad(x, g []float32, inverse, d, scale float32) {
	n := i.whole(len(x))
	if n > 0 {
		scoreGradPart(i, x[:n], g[:n], inverse, d, scale)
	}
	for j := n; j < len(x); j++ {
		x[j] *= inverse
		g[j] = float32(x[j]*(g[j]-d)) * scale
	}
}

// dot returns Σ x·y: the product of element j goes to lane j mod 16, and the
// lanes are added by halves.
func (i isa) dot(x, y []float32) float32 {
	var sums [lanes]float32
	n := i.whole(len(x))
	if n > 0 {
		dotPart(i, x[:n], y[:n], &sums)
	}
	for j := n; j < len(x); j++ {
		sums[j%lanes] += float32(x[j] * y[j])
	}
	return sumLanes(&sums)
}

// dotWide returns Σ x·y in float64, where the products are exact: that of
// element j goes to lane j mod 16, and the lanes are added by halves.
func (i isa) dotWide(x, y []float32) float64 {
	var sums [lanes]float64
	n := i.whole(len(x))
	if n > 0 {
		dotWidePart(i, x[:n], y[:n], &sums)
	}
	for j := n; j < len(x); j++ {
		sums[j%lanes] += float64(float64(x[j]) * float64(y[j]))
	}
	return sumLanes(&sums)
}

// sumLanes adds lanes by halves.
func sumLanes[T float32 | float64](sums *[lanes]T) T {
	for h := lanes / 2; h > 0; h /= 2 {
		for l := range h {
			sums[l] += sums[l+h]
		}
	}
	return sums[0]
}

// rotate turns the pairs (x_j, y_j) by the angles whose cosines and sines are
// given, or back for a sign of −1.
func (i isa) rotate(x, y, cos, sin []float32, sign float32) {
	n := i.whole(len(cos))
	if n > 0 {
		rotatePart(i, x[:n], y[:n], cos[:n], sin[:n], sign)
	}
	for j := n; j < len(cos); j++ {
		a, b, c, d := x[j], y[j], cos[j], sin[j]*sign
		x[j] = float32(a*c) - float32(b*d)
		y[j] = float32(b*c) + float32(a*d)
	}
}
