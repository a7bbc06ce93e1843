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

// ulpOf returns the factor between the power of two in a value and its ulp,
// and the smallest power of two that matters: subnormal values have the ulp
// of the smallest normal ones.
func ulpOf(d dtype.DType) (step, least float64) {
	mantissa, minExponent := d.Precision()
	return math.Ldexp(1, -mantissa), math.Ldexp(1, minExponent)
}

// addNoise adds the variances of a row of values to the columns and returns
// their sum.
func addNoise(columns []float64, values []float32, step, least float64) float64 {
	scale := step * step / 12
	sum := 0.0
	columns = columns[:len(values)]
	for j, v := range values {
		const exponent = 0xff << 23
		p := max(float64(math.Float32frombits(math.Float32bits(v)&exponent)), least)
		variance := float64(p*p) * scale
		columns[j] += variance
		sum += variance
	}
	return sum
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
