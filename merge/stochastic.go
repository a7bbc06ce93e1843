package merge

import (
	"math"
	"math/big"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/internal/philox"
)

// Stochastic rounding: a value between two neighbours of the output dtype
// becomes the one farther from zero with the probability by which it is nearer
// to it, decided by a uniform number that depends on the seed, the tensor's
// name and the element's index alone. For a fixed number the rounding is
// monotone, exact values stay, and values beyond the largest finite one become
// that one.

// A roundingKey generates the uniform numbers of one tensor.
type roundingKey struct{ philox.Key }

// newRoundingKey derives the key of a tensor from seed and name.
func newRoundingKey(seed uint64, name string) *roundingKey {
	return &roundingKey{philox.NewKey("loratool stochastic rounding 1", seed, name)}
}

// uniformBits is the number of bits of the uniform numbers: few enough that
// the product with the distance of two neighbours added to one is exact in
// float64 for every dtype of at most 24 significant bits.
const uniformBits = 28

// uniform returns the number of element i in [0, 1), a multiple of 2^−28.
func (k *roundingKey) uniform(i uint64) float64 {
	return uniform(k.Word(i) >> (32 - uniformBits))
}

func uniform(n uint32) float64 { return float64(float64(n) * (1.0 / (1 << uniformBits))) }

// A randomRounder rounds to one dtype.
type randomRounder struct {
	dtype         dtype.DType
	shift, rebias uint64
	normal, limit uint64 // magnitudes, as float64, from and below which bits are rounded
}

func newRandomRounder(d dtype.DType) randomRounder {
	mantissa, least := d.Precision()
	return randomRounder{dtype: d, shift: uint64(52 - mantissa), rebias: uint64(1022+least) << 52,
		normal: uint64(1023+least) << 52, limit: math.Float64bits(d.MaxFinite())}
}

// round rounds x with the uniform number n·2^−28 and returns the bits. Between
// the smallest normal and the largest finite value, the bits of x with the
// exponent of the dtype are those of the neighbour nearer to zero, followed by
// the distance from it.
func (r *randomRounder) round(x float64, n uint32) uint64 {
	u := math.Float64bits(x)
	a := u &^ (1 << 63)
	if a < r.normal || a >= r.limit || r.shift < uniformBits {
		return roundRandom(r.dtype, x, uniform(n))
	}
	carry := uint64(1)<<r.shift - 1 - uint64(n)<<(r.shift-uniformBits)
	return (a-r.rebias+carry)>>(r.shift&63) | u>>63<<(uint(r.dtype.Bits()-1)&63)
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
