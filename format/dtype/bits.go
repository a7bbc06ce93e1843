package dtype

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
)

// Value returns the value of the bits of a Float dtype; NaN loses its payload
// and sign.
func (d DType) Value(b uint64) float64 { return d.float().value(b) }

// MaxMagnitude returns the bits of the largest finite value of a Float dtype.
func (d DType) MaxMagnitude() uint64 { return d.float().max }

// SignBit returns the sign bit of a Float dtype.
func (d DType) SignBit() uint64 { return d.float().sign }

// NegativeZero reports whether a Float dtype has a negative zero.
func (d DType) NegativeZero() bool { return !d.float().fnuz }

// A Grid is the finite values of a Float dtype as points of the number line,
// by their ordinals. It is made once and then fast.
type Grid struct {
	shift    uint    // how much shorter the mantissa is than a float64's
	rebias   uint64  // what shifted magnitudes of normal values lack to float64 bits
	normal   uint64  // the smallest normal magnitude
	normal64 uint64  // its float64 bits
	limit64  uint64  // how many float64 bits are from there to the largest finite value
	scale    float64 // value of the magnitude 1
	inverse  float64 // of scale
	most     int64   // the largest magnitude
}

// Grid returns the grid of a Float dtype other than F64, which float64 can not
// look between.
func (d DType) Grid() Grid {
	l := d.float()
	if l.mantissa == 52 {
		panic("dtype: no grid of F64")
	}
	e, normal := l.emin-l.mantissa, l.rebias()+1<<52
	return Grid{shift: l.shift(), rebias: l.rebias(), normal: 1 << uint(l.mantissa), normal64: normal,
		limit64: l.max<<l.shift() + l.rebias() - normal + 1, scale: pow2(e), inverse: pow2(-e), most: int64(l.max)}
}

// Value returns the value of a magnitude.
func (g *Grid) Value(magnitude uint64) float64 {
	if magnitude >= g.normal {
		return math.Float64frombits(magnitude<<(g.shift&63) + g.rebias)
	}
	return float64(magnitude) * g.scale
}

// After returns the number halfway between a magnitude and the next.
func (g *Grid) After(magnitude uint64) float64 {
	if magnitude >= g.normal {
		return math.Float64frombits((2*magnitude+1)<<((g.shift-1)&63) + g.rebias)
	}
	return (float64(magnitude) + 0.5) * g.scale
}

// Ceil returns the first ordinal whose value is not below x; beyond the finite
// values, the one after the last. A zero has two ordinals.
func (g *Grid) Ceil(x float64) int64 {
	if x > 0 {
		return g.up(x)
	}
	return -g.down(math.Abs(x)) - 1
}

// Floor returns the last ordinal whose value is not above x.
func (g *Grid) Floor(x float64) int64 {
	if x < 0 {
		return -g.up(-x) - 1
	}
	return g.down(math.Abs(x))
}

// spans reports whether two numbers lie between the smallest positive normal
// and the largest finite value, where ceilNormal and floorNormal are Ceil and
// Floor.
func (g *Grid) spans(low, high float64) bool {
	return max(math.Float64bits(low)-g.normal64, math.Float64bits(high)-g.normal64) < g.limit64
}

// ceilNormal is Ceil without a jump, for numbers that span it.
func (g *Grid) ceilNormal(x float64) int64 {
	return int64((math.Float64bits(x) - g.rebias + (1<<(g.shift&63) - 1)) >> (g.shift & 63))
}

// floorNormal is Floor without a jump, for numbers that span it.
func (g *Grid) floorNormal(x float64) int64 {
	return int64((math.Float64bits(x) - g.rebias) >> (g.shift & 63))
}

// isNormal reports whether a magnitude is finite and above the smallest normal
// one.
func (g *Grid) isNormal(magnitude uint64) bool { return magnitude-g.normal-1 < uint64(g.most)-g.normal }

// Around returns the numbers halfway between a magnitude and its neighbours;
// zero has none below.
func (g *Grid) Around(magnitude uint64) (low, high float64) {
	if magnitude > g.normal {
		return g.aroundNormal(magnitude)
	}
	if magnitude > 0 {
		low = g.After(magnitude - 1)
	}
	return low, g.After(magnitude)
}

// aroundNormal is Around for a magnitude above the smallest normal one.
func (g *Grid) aroundNormal(magnitude uint64) (low, high float64) {
	bits := magnitude<<(g.shift&63) + g.rebias
	half := uint64(1) << ((g.shift - 1) & 63)
	return math.Float64frombits(bits - half), math.Float64frombits(bits + half)
}

// up rounds a positive number away from zero, down toward it.
func (g *Grid) up(x float64) int64 {
	u := math.Float64bits(x)
	if u < g.normal64 {
		return int64(math.Ceil(x * g.inverse))
	}
	return min(int64((u-g.rebias+(1<<(g.shift&63)-1))>>(g.shift&63)), g.most+1)
}

func (g *Grid) down(x float64) int64 {
	u := math.Float64bits(x)
	if u < g.normal64 {
		return int64(x * g.inverse)
	}
	return min(int64((u-g.rebias)>>(g.shift&63)), g.most)
}

// Coarser sets bit i mod 16 of set[i/16] for the elements i, of those at a and b
// in order, for which the exponent of the next smaller magnitude than a's is
// below the exponent of b, or a is zero. Where it is not, a's neighbours are as
// far away as the values around b lie apart, or farther. A and b are values of
// one Float dtype; what is not finite counts as if exponents went on. Set has a
// bit for each element.
func (d DType) Coarser(set []uint16, a, b []byte) {
	n := len(a) / d.float().width
	if len(b) != len(a) || len(set) != (n+block-1)/block {
		panic(fmt.Sprintf("dtype: %d bytes, %d bytes and %d words", len(a), len(b), len(set)))
	}
	d.coarserBy(best(), set, a, b)
}

func (d DType) coarserBy(k *kernels, set []uint16, a, b []byte) {
	l := d.float()
	at := 0
	if whole := len(a) / (2 * block) * block; l.width == 2 && k.coarser16 != nil && whole > 0 {
		k.coarser16(whole, &set[0], &a[0], &b[0], uint16((l.sign-1)>>uint(l.mantissa)<<uint(l.mantissa)))
		at = whole
	}
	d.coarser(set[at/block:], a[at*l.width:], b[at*l.width:])
}

// coarser is Coarser by 64 bits.
func (d DType) coarser(set []uint16, a, b []byte) {
	l := d.float()
	var one, exponent, sign uint64
	for at := 0; at < 8; at += l.width {
		one |= 1 << (8 * at)
		sign |= l.sign << (8 * at)
		exponent |= (l.sign - 1) >> uint(l.mantissa) << uint(l.mantissa) << (8 * at)
	}
	lanes := 8 / l.width
	width := bits.TrailingZeros(uint(8 * l.width)) // of a lane, as a shift
	x, y, at := a, b[:len(a)], 0
	for ; len(x) >= 32 && len(y) >= 32; x, y, at = x[32:], y[32:], at+4*lanes {
		// The sign bits are set, so that no lane borrows from the next; that of
		// the difference stays where the exponent is not below.
		r0 := (((binary.LittleEndian.Uint64(x)|sign)-one)&(exponent|sign) - binary.LittleEndian.Uint64(y)&exponent) & sign
		r1 := (((binary.LittleEndian.Uint64(x[8:])|sign)-one)&(exponent|sign) - binary.LittleEndian.Uint64(y[8:])&exponent) & sign
		r2 := (((binary.LittleEndian.Uint64(x[16:])|sign)-one)&(exponent|sign) - binary.LittleEndian.Uint64(y[16:])&exponent) & sign
		r3 := (((binary.LittleEndian.Uint64(x[24:])|sign)-one)&(exponent|sign) - binary.LittleEndian.Uint64(y[24:])&exponent) & sign
		if r0&r1&r2&r3 == sign {
			continue
		}
		for k, r := range [4]uint64{r0, r1, r2, r3} {
			for r ^= sign; r != 0; r &= r - 1 {
				i := at + k*lanes + bits.TrailingZeros64(r)>>width
				set[i/block] |= 1 << (i % block)
			}
		}
	}
	for i := at; i < len(a)/l.width; i++ {
		x, y := d.Bits64(a, i)&(l.sign-1), d.Bits64(b, i)
		if e := exponent & (l.sign - 1); x == 0 || (x-1)&e < y&e {
			set[i/block] |= 1 << (i % block)
		}
	}
}

// AtLeast sets the bits, as Coarser does, of the elements at src whose
// magnitude has the bits of a magnitude m, which is not 0, or higher ones.
func (d DType) AtLeast(set []uint16, src []byte, m uint64) {
	l := d.float()
	var sign, add uint64
	for at := 0; at < 8; at += l.width {
		sign |= l.sign << (8 * at)
		add |= (l.sign - m) << (8 * at)
	}
	at := 0 // in bytes
	for ; at+32 <= len(src); at += 32 {
		x := src[at : at+32]
		// The sum reaches the sign bit where the magnitude is high enough, and
		// no lane's reaches the next.
		r := (binary.LittleEndian.Uint64(x)&^sign + add) | (binary.LittleEndian.Uint64(x[8:])&^sign + add) |
			(binary.LittleEndian.Uint64(x[16:])&^sign + add) | (binary.LittleEndian.Uint64(x[24:])&^sign + add)
		if r&sign != 0 {
			d.atLeast(set, src, at/l.width, (at+32)/l.width, m)
		}
	}
	d.atLeast(set, src, at/l.width, len(src)/l.width, m)
}

func (d DType) atLeast(set []uint16, src []byte, from, to int, m uint64) {
	sign := d.float().sign
	for i := from; i < to; i++ {
		if d.Bits64(src, i)&^sign >= m {
			set[i/block] |= 1 << (i % block)
		}
	}
}
