package merge

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"math/big"
	"math/bits"

	"github.com/loratool/loratool/format/dtype"
)

// Stochastic rounding: a value between two neighbours of the output dtype
// becomes the one farther from zero with the probability by which it is nearer
// to it, decided by a uniform number that depends on the seed, the tensor's
// name and the element's index alone. For a fixed number the rounding is
// monotone, exact values stay, and values beyond the largest finite one become
// that one.

// A roundingKey generates the uniform numbers of one tensor.
type roundingKey struct{ k0, k1 uint32 }

// newRoundingKey derives the key of a tensor from seed and name.
func newRoundingKey(seed uint64, name string) *roundingKey {
	h := sha256.New()
	h.Write([]byte("loratool stochastic rounding 1\x00"))
	h.Write(binary.LittleEndian.AppendUint64(nil, seed))
	h.Write([]byte(name))
	sum := h.Sum(nil)
	return &roundingKey{binary.LittleEndian.Uint32(sum), binary.LittleEndian.Uint32(sum[4:])}
}

// uniformBits is the number of bits of the uniform numbers: few enough that
// the product with the distance of two neighbours added to one is exact in
// float64 for every dtype of at most 24 significant bits.
const uniformBits = 28

// uniform returns the number of element i in [0, 1), a multiple of 2^−28.
func (k *roundingKey) uniform(i uint64) float64 {
	block := philox(k.k0, k.k1, uint32(i>>2), uint32(i>>34))
	return float64(block[i&3]>>(32-uniformBits)) * (1.0 / (1 << uniformBits))
}

// philox is Philox4x32-10 with the counter (c0, c1, 0, 0): Salmon et al.,
// "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
func philox(k0, k1, c0, c1 uint32) [4]uint32 {
	x := [4]uint32{c0, c1, 0, 0}
	for range 10 {
		h0, l0 := bits.Mul32(0xD2511F53, x[0])
		h1, l1 := bits.Mul32(0xCD9E8D57, x[2])
		x = [4]uint32{h1 ^ x[1] ^ k0, l1, h0 ^ x[3] ^ k1, l0}
		k0 += 0x9E3779B9
		k1 += 0xBB67AE85
	}
	return x
}

// roundRandom rounds x with the uniform number u and returns the bits.
func roundRandom(d dtype.DType, x, u float64) uint64 {
	low, high, lowBits, highBits := d.Neighbours(x)
	if low == high {
		return lowBits
	}
	if x < 0 {
		if high-x > u*(high-low) {
			return lowBits
		}
		return highBits
	}
	if x-low > u*(high-low) {
		return highBits
	}
	return lowBits
}

// roundRandomExact is roundRandom for a value that float64 cannot hold.
func roundRandomExact(d dtype.DType, x *big.Float, u float64) uint64 {
	near := toOdd(x, false)
	low, high, lowBits, highBits := d.Neighbours(near)
	if low == high {
		return lowBits
	}
	from, away, toward := low, highBits, lowBits
	if near < 0 {
		from, away, toward = high, lowBits, highBits
	}
	distance := new(big.Float).SetPrec(exactBits).Sub(x, new(big.Float).SetFloat64(from))
	if distance.Abs(distance).Cmp(new(big.Float).SetFloat64(u*(high-low))) > 0 {
		return away
	}
	return toward
}

func finite[T ~float32 | ~float64](x T) bool {
	return !math.IsNaN(float64(x)) && !math.IsInf(float64(x), 0)
}
