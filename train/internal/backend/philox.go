package backend

import "math/bits"

// Philox4x32 is the counter-based generator of Salmon et al. 2011 with ten
// rounds: four random words for each key and counter, the same everywhere.
func Philox4x32(key [2]uint32, counter [4]uint32) [4]uint32 {
	const (
		m0, m1 = 0xD2511F53, 0xCD9E8D57 // multipliers, table 2
		w0, w1 = 0x9E3779B9, 0xBB67AE85 // Weyl constants, section 4.3
		rounds = 10
	)
	c := counter
	for range rounds {
		hi0, lo0 := bits.Mul32(m0, c[0])
		hi1, lo1 := bits.Mul32(m1, c[2])
		c = [4]uint32{hi1 ^ c[1] ^ key[0], lo1, hi0 ^ c[3] ^ key[1], lo0}
		key[0] += w0
		key[1] += w1
	}
	return c
}

// Mask returns the random words of elements 4·block…4·block+3 of a matrix, in
// row-major order. An element is dropped if its word is below Threshold(p).
func (k Key) Mask(block uint64) [4]uint32 {
	return Philox4x32([2]uint32{uint32(k.Seed), uint32(k.Seed >> 32)},
		[4]uint32{uint32(block), uint32(block >> 32), k.Step, k.Site})
}

// Threshold returns p·2³², rounded down.
func Threshold(p float32) uint32 { return uint32(float64(p) * (1 << 32)) }
