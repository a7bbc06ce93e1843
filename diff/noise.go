package diff

import (
	"math"

	"github.com/loratool/loratool/format/dtype"
)

// The rounding noise of a delta. A fine-tune that was stored in 16 bits is
// W + ΔW rounded once, so that X = ΔW + E, where E_ij is uniform in an interval
// of one ulp of the tuned value: independent, of variance ulp²/12. The base
// adds nothing, for it is the starting point as it is stored. Where ΔW is far
// below an ulp, E is smaller than that, and the estimate stays on the safe
// side.

// A noise measures the variances of rounded values of one dtype, in units of
// its step²/12.
type noise struct {
	least       uint32  // bits of the smallest power of two that has an ulp of its own
	minExponent int     // of that power, which float32 may not hold
	unit        float64 // variance of a value in [1, 2)
}

func newNoise(d dtype.DType) noise {
	mantissa, minExponent := d.Precision()
	step := math.Ldexp(1, -mantissa)
	return noise{least: math.Float32bits(float32(math.Ldexp(1, max(minExponent, -126)))), minExponent: minExponent, unit: step * step / 12}
}

// noiseLanes is how many float32 sums a row is added up in, and noiseChunk how
// many values go into them before they are added in float64.
const noiseLanes, noiseChunk = 4, 4096

// add adds the variances of a row of values to the columns, and returns their
// sum; both in units of n.unit. It needs no more than two digits.
func (n noise) add(columns, values []float32) (sum float64) {
	for len(values) > 0 {
		k := min(noiseChunk, len(values))
		sum += n.chunk(columns[:k], values[:k])
		columns, values = columns[k:], values[k:]
	}
	return sum
}

func (n noise) chunk(columns, values []float32) float64 {
	var s [noiseLanes]float32
	for len(values) >= noiseLanes {
		c, v := columns[:noiseLanes:noiseLanes], values[:noiseLanes:noiseLanes]
		q0, q1, q2, q3 := n.square(v[0]), n.square(v[1]), n.square(v[2]), n.square(v[3])
		s[0], s[1], s[2], s[3] = s[0]+q0, s[1]+q1, s[2]+q2, s[3]+q3
		c[0], c[1], c[2], c[3] = c[0]+q0, c[1]+q1, c[2]+q2, c[3]+q3
		columns, values = columns[noiseLanes:], values[noiseLanes:]
	}
	for i, v := range values {
		q := n.square(v)
		s[i] += q
		columns[i] += q
	}
	return float64(s[0]) + float64(s[1]) + float64(s[2]) + float64(s[3])
}

// square returns the square of the power of two in a value.
func (n noise) square(v float32) float32 {
	const exponent = 0xff << 23
	p := math.Float32frombits(max(math.Float32bits(v)&exponent, n.least))
	return float32(p * p)
}

// resolved adds to the edge of a noise what arithmetic in float32 leaves of
// zero singular values: up to 4.4e-8·‖X‖ of exact products of rank 1 to 64 and
// sides of 64 to 3000.
func resolved(edge, delta2 float64) float64 {
	return math.Sqrt(float64(edge*edge) + float64(0x1p-46*delta2))
}

// noiseEdge bounds the largest singular value of a rows×cols matrix of
// independent noise, from the largest sum of variances of a row and of a
// column: ‖E‖ ≤ (1+ε)·(√max_i Σ_j v_ij + √max_j Σ_i v_ij) (Bandeira and van
// Handel 2016, theorem 3.1). With equal variances that is the edge
// σ·(√m + √n) of Marchenko and Pastur (1967), and ε = n^(−2/3) leaves room for
// its fluctuation, by the 0.999 quantile 3.27 of Tracy and Widom's law for a
// square matrix (Johnstone 2001, theorem 1.1).
func noiseEdge(rowMost, columnMost float64, rows, cols int) float64 {
	room := 1 + math.Pow(float64(min(rows, cols)), -2.0/3)
	return (math.Sqrt(rowMost) + math.Sqrt(columnMost)) * room
}
