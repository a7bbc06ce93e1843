package cpu

import "github.com/loratool/loratool/internal/linalg"

// tanhBlock is how many values tanh has in hand.
const tanhBlock = 256

// tanh replaces x by tanh x = 2/(1+e⁻²ˣ) − 1, near zero by its series, where
// the difference would cancel.
func tanh(x []float32) {
	var e [tanhBlock]float32
	for len(x) > 0 {
		n := min(len(x), tanhBlock)
		linalg.ExpSum(e[:n], x[:n], -2, 0)
		for j, v := range x[:n] {
			if v > -0.03 && v < 0.03 {
				v2 := float32(v * v)
				x[j] = v - float32(float32(v*v2)*(1.0/3-float32(v2*(2.0/15))))
				continue
			}
			x[j] = 2/(1+e[j]) - 1
		}
		x = x[n:]
	}
}
