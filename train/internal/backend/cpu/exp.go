package cpu

import "math"

// exp returns eˣ with an error below 2 units in the last place, 0 below −87
// and the value at 88 above it. The polynomial is that of Cephes expf (Moshier 1992). Products are rounded
// before they are added, so that no compiler fuses them and the bits are the
// same everywhere.
func exp(x float32) float32 {
	const (
		log2e = 1.44269504088896341
		ln2Hi = 0.693359375
		ln2Lo = -2.12194440e-4
		magic = 1.5 * (1 << 23) // added and subtracted, it rounds to an integer
	)
	if x < -87 {
		return 0
	}
	if x > 88 {
		x = 88
	}
	t := float32(x*log2e) + magic
	n := t - magic
	r := x - float32(n*ln2Hi)
	r -= float32(n * ln2Lo)
	p := float32(1.9875691500e-4)
	p = float32(p*r) + 1.3981999507e-3
	p = float32(p*r) + 8.3334519073e-3
	p = float32(p*r) + 4.1665795894e-2
	p = float32(p*r) + 1.6666665459e-1
	p = float32(p*r) + 5.0000001201e-1
	p = float32(p*float32(r*r)) + r
	p++
	// t's low bits hold n; the exponent of p is raised by it.
	return math.Float32frombits(math.Float32bits(p) + math.Float32bits(t)<<23)
}

// lanes is how many partial sums a long sum has, so that it can be computed
// by vectors of any width.
const lanes = 16

// expSum computes y_i = exp(x_i·scale − shift) and returns the sum: element i
// goes to lane i mod 16, and the lanes are added by halves.
func expSum(y, x []float32, scale, shift float32) float32 {
	var sum [lanes]float32
	n := len(x) / lanes * lanes
	for i := 0; i < n; i += lanes {
		xs, ys := x[i:i+lanes:i+lanes], y[i:i+lanes:i+lanes]
		for l := range lanes {
			e := exp(float32(xs[l]*scale) - shift)
			ys[l] = e
			sum[l] += e
		}
	}
	for i := n; i < len(x); i++ {
		e := exp(float32(x[i]*scale) - shift)
		y[i] = e
		sum[i-n] += e
	}
	for h := lanes / 2; h > 0; h /= 2 {
		for l := range h {
			sum[l] += sum[l+h]
		}
	}
	return sum[0]
}

// largest returns the largest element, -Inf of none; NaN if there is one.
func largest(x []float32) float32 {
	m := float32(math.Inf(-1))
	for _, v := range x {
		if !(v <= m) {
			m = v
		}
	}
	return m
}

// sigmoid returns 1/(1+e⁻ˣ).
func sigmoid(x float32) float32 { return 1 / (1 + exp(-x)) }

// tanh returns 2σ(2x)−1, exact enough away from 0 and by its series near it.
func tanh(x float32) float32 {
	if x > -0.03 && x < 0.03 {
		x2 := float32(x * x)
		return x - float32(float32(x*x2)*(1.0/3-float32(x2*(2.0/15))))
	}
	return 2*sigmoid(2*x) - 1
}
