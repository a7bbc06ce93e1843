package dtype

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestInspect holds Inspect and NotFinite against decoding each element, with
// every 8 and 16 bit pattern and a sample of the others at every place of runs
// of all lengths around a word.
func TestInspect(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	for d := range numDTypes {
		if !DType(d).Float() || DType(d).Bits() < 8 {
			continue
		}
		d := DType(d)
		width := d.Bits() / 8
		patterns := []uint64{0, 1 << (d.Bits() - 1), math.MaxUint64, 0x7F800000, 0x7F7FFFFF, 0x7FF0 << 48, 0x7FEF<<48 | 1, 0x7C00, 0x7F80}
		for range 200 {
			patterns = append(patterns, r.Uint64())
		}
		for p := 0; width <= 2 && p < 1<<d.Bits(); p++ {
			patterns = append(patterns, uint64(p))
		}
		for n, p := range patterns {
			run := make([]byte, (1+n%80)*width)
			at := n % (len(run) / width)
			for i := range width {
				run[at*width+i] = byte(p >> (8 * i))
			}
			var x [1]float64
			d.Decode64(x[:], run[at*width:][:width])
			bad := math.IsNaN(x[0]) || math.IsInf(x[0], 0)
			special, nonZero := d.Inspect(run)
			first, count := d.NotFinite(run)
			if special != bad || nonZero != (x[0] != 0) || bad != (count == 1) || bad && first != at {
				t.Fatalf("%v: %v at %d of %d: special %v, not zero %v, %d not finite from %d", d, x[0], at, len(run)/width, special, nonZero, count, first)
			}
		}
	}
}
