package dtype

import "encoding/binary"

// Value returns the value of the bits of a Float dtype; NaN loses its payload
// and sign.
func (d DType) Value(bits uint64) float64 { return d.float().value(bits) }

// MaxMagnitude returns the bits of the largest finite value of a Float dtype.
func (d DType) MaxMagnitude() uint64 { return d.float().max }

// SignBit returns the sign bit of a Float dtype.
func (d DType) SignBit() uint64 { return d.float().sign }

// NegativeZero reports whether a Float dtype has a negative zero.
func (d DType) NegativeZero() bool { return !d.float().fnuz }

// Coarser appends to dst the indices of the elements, of those at a and b in
// order, for which the exponent of the next smaller magnitude than a's is
// below the exponent of b, or a is zero. Where it is not, a's neighbours are as
// far away as the values around b lie apart, or farther. A and b are values of
// one Float dtype; what is not finite counts as if exponents went on.
func (d DType) Coarser(dst []int32, a, b []byte) []int32 {
	l := d.float()
	var one, exponent, sign uint64
	for at := 0; at < 8; at += l.width {
		one |= 1 << (8 * at)
		sign |= l.sign << (8 * at)
		exponent |= (l.sign - 1) >> uint(l.mantissa) << uint(l.mantissa) << (8 * at)
	}
	lanes := 8 / l.width
	whole := len(a) / 8 * 8
	for at := 0; at < whole; at += 8 {
		x := binary.LittleEndian.Uint64(a[at:])
		y := binary.LittleEndian.Uint64(b[at:])
		// The sign bits are set, so that no lane borrows from the next; that of
		// the difference stays where the exponent is not below.
		r := ((x|sign)-one)&(exponent|sign) - y&exponent
		if r&sign == sign {
			continue
		}
		for k := range lanes {
			if r>>(8*k*l.width)&l.sign == 0 {
				dst = append(dst, int32(at/l.width+k))
			}
		}
	}
	for at := whole; at < len(a); at += l.width {
		x, y := d.Bits64(a[at:], 0), d.Bits64(b[at:], 0)
		e := exponent & (l.sign - 1)
		if x&(l.sign-1) == 0 || (x&(l.sign-1)-1)&e < y&e {
			dst = append(dst, int32(at/l.width))
		}
	}
	return dst
}
