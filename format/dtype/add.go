package dtype

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Lanes are partial sums over the elements of a merge, in float32: element i
// of what is summed goes to lane i mod 16.
type Lanes struct {
	W2  [block]float32 // Σ w²
	Dot [block]float32 // Σ (v−w)·d
	D2  [block]float32 // Σ d²
}

// AddsRounded reports whether [DType.AddRound32] knows the dtype.
func (d DType) AddsRounded() bool { return d == BF16 || d == F16 }

// AddRound32 adds delta to the values at src and rounds the sums to dst, both
// of the dtype d. Delta is wrong by less than e. For each element it computes,
// every operation rounded to float32,
//
//	w = decode(src[i]), t = w + delta[i]
//	low = two values below |t|-e, high = one above |t|+e
//	v = encode(high) with the sign of t
//
// and sets bit i mod 16 of doubtful[i/16] where low and high, and in BF16 also
// where ties that go to either side, give different values; where it is clear, v
// is the correctly rounded exact sum. (The sum is rounded twice until it is low
// or high, by half of the distance between two values each. That distance is
// low's unless low is in the binade below |t|, where it is twice that; in a
// lower one, or negative, it differs from high in any case.) It adds w², (v−w)·d
// and d² to sums and returns the number of elements where v and w differ in
// their bits. If a value is not finite then neither are the sums, and dst is
// not meaningful. The bits are the same for every implementation.
//
// The lengths of src and dst are twice delta's, doubtful has a bit for each.
func (d DType) AddRound32(dst, src []byte, delta []float32, e float32, doubtful []uint16, sums *Lanes) (changed int) {
	n := len(delta)
	if len(dst) != 2*n || len(src) != 2*n || len(doubtful) != (n+block-1)/block {
		panic(fmt.Sprintf("dtype: %d bytes, %d bytes and %d words for %d elements", len(dst), len(src), len(doubtful), n))
	}
	return d.addRoundBy(best(), dst, src, delta, e, doubtful, sums)
}

func (d DType) addRoundBy(k *kernels, dst, src []byte, delta []float32, e float32, doubtful []uint16, sums *Lanes) (changed int) {
	n := len(delta)
	kernel := k.addRoundBF16
	if d == F16 {
		kernel = k.addRoundF16
	}
	whole := n / block * block
	if kernel != nil && whole > 0 {
		changed = kernel(whole, &dst[0], &src[0], &delta[0], e, &doubtful[0], &sums.W2[0])
	} else {
		whole = 0
	}
	return changed + d.addRound(dst[2*whole:], src[2*whole:], delta[whole:], e, doubtful[whole/block:], sums)
}

// addRound is AddRound32 element by element.
func (d DType) addRound(dst, src []byte, delta []float32, e float32, doubtful []uint16, sums *Lanes) (changed int) {
	for i, x := range delta {
		if i%block == 0 {
			doubtful[i/block] = 0
		}
		w := d.half32(binary.LittleEndian.Uint16(src[2*i:]))
		t := w + x
		sign := math.Float32bits(t) & (1 << 31)
		a := math.Float32frombits(math.Float32bits(t) ^ sign)
		low, high := d.interval(math.Float32bits(a-e)-2, math.Float32bits(a+e)+1)
		if low != high {
			doubtful[i/block] |= 1 << (i % block)
		}
		high ^= uint16(sign >> 16)
		binary.LittleEndian.PutUint16(dst[2*i:], high)
		v := d.half32(high)
		if math.Float32bits(v) != math.Float32bits(w) {
			changed++
		}
		l := i % block
		sums.W2[l] += float32(w * w)
		sums.Dot[l] += float32(float32(v-w) * x)
		sums.D2[l] += float32(x * x)
	}
	return changed
}

// half32 decodes a value of BF16 or F16.
func (d DType) half32(h uint16) float32 {
	if d == F16 {
		return math.Float32frombits(float32FromF16(h))
	}
	return math.Float32frombits(uint32(h) << 16)
}

// interval rounds the ends of an interval, given by their bits, to BF16 or F16:
// where both give the same, so does all between them. In BF16 ties go down at
// the lower end and up at the upper.
func (d DType) interval(low, high uint32) (uint16, uint16) {
	if d == F16 {
		return f16FromFloat32(low), f16FromFloat32(high)
	}
	return uint16((low + 0x7fff) >> 16), uint16((high + 0x8000) >> 16)
}
