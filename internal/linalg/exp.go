package linalg

import "math"

// exp returns eˣ with an error of less than 2 units in the last place; x below
// −87 counts as −87 and x above 88 as 88, so that the result is a normal
// number. The polynomial is that of Cephes expf (Moshier 1992). Products are
// rounded before they are added, so that no compiler fuses them and the bits
// are the same everywhere.
func exp(x float32) float32 {
	const (
		log2e = 1.44269504088896341
		ln2Hi = 0.693359375
		ln2Lo = -2.12194440e-4
		magic = 1.5 * (1 << 23) // added and subtracted, it rounds to an integer
	)
	if x < -87 {
		x = -87
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
	// The low bits of t hold n; the exponent of p is raised by it.
	return math.Float32frombits(math.Float32bits(p) + math.Float32bits(t)<<23)
}

// ExpSum computes y_i = exp(x_i·scale − shift) and returns their sum, the same
// bits everywhere: y_i is added to lane i mod 16 in order, and the lanes by
// halves. The exponent is kept within [−87, 88], the error is below 2 units in
// the last place of y. The slices have one length and may be the same memory.
func ExpSum(y, x []float32, scale, shift float32) float32 {
	checkLengths(len(y), len(x))
	return expSum(best(), y, x, scale, shift)
}

func expSum(i isa, y, x []float32, scale, shift float32) float32 {
	var sums [lanes32]float32
	n := len(x) / lanes32 * lanes32
	if n > 0 {
		expSum32(i, n, &y[0], &x[0], scale, shift, &sums)
	}
	if n < len(x) {
		var rest [lanes32]float32
		copy(rest[:], x[n:])
		expSum32(i, lanes32, &rest[0], &rest[0], scale, shift, new([lanes32]float32))
		for l := range copy(y[n:], rest[:]) {
			sums[l] += rest[l]
		}
	}
	for h := lanes32 / 2; h > 0; h /= 2 {
		for l := range h {
			sums[l] += sums[l+h]
		}
	}
	return sums[0]
}

// expSumGeneric is the loop of the assembly kernels.
func expSumGeneric(y, x []float32, scale, shift float32, sums *[lanes32]float32) {
	for k, v := range x {
		e := exp(float32(v*scale) - shift)
		y[k] = e
		sums[k%lanes32] += e
	}
}

// Max returns the largest element, NaN if there is one, and -Inf of none.
func Max(x []float32) float32 {
	most := float32(math.Inf(-1))
	for _, v := range x {
		if !(v <= most) {
			most = v
			if v != v {
				return v
			}
		}
	}
	return most
}
