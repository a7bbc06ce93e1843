package dtype

import "encoding/binary"

// Inspect reports whether of the elements of a Float dtype any is NaN or
// infinite, and whether any is not zero.
func (d DType) Inspect(data []byte) (special, nonZero bool) {
	if l, ok := lanes[d]; ok {
		special, bits := l.scan(data)
		return special, bits != 0
	}
	d.each(data, func(_ int, x float64) {
		special = special || x-x != 0
		nonZero = nonZero || x != 0
	})
	return special, nonZero
}

// NotFinite counts the elements of a Float dtype that are NaN or infinite, and
// returns the index of the first of them.
func (d DType) NotFinite(data []byte) (first, count int) {
	d.each(data, func(i int, x float64) {
		if x-x != 0 {
			if count++; count == 1 {
				first = i
			}
		}
	})
	return first, count
}

// each calls do with every element.
func (d DType) each(data []byte, do func(i int, x float64)) {
	var values [512]float64
	bits := d.Bits()
	for at := 0; at < len(data); at += len(values) * bits / 8 {
		part := data[at:min(at+len(values)*bits/8, len(data))]
		v := values[:len(part)*8/bits]
		d.Decode64(v, part)
		for i, x := range v {
			do(at*8/bits+i, x)
		}
	}
}

// Lanes find values that are not finite in words of 64 bits, several elements
// at once. An element is special if all bits of its exponent are set: mask
// keeps the exponent, and adding the exponent's lowest bit carries into the
// sign bit just then, since nothing below it is left to carry.
//
//	for each element e: special |= (e & mask) + low has the sign bit
type laneMasks struct {
	mask, low, sign uint64
	magnitude       uint64 // every bit but the signs: -0 is zero
}

// repeat fills a word with an element of the given bits.
func repeat(bits int, x uint64) uint64 {
	w := uint64(0)
	for i := 0; i < 64; i += bits {
		w |= x << i
	}
	return w
}

func masksFor(bits int, exponent uint64) laneMasks {
	sign := uint64(1) << (bits - 1)
	low := exponent & -exponent
	return laneMasks{repeat(bits, exponent), repeat(bits, low), repeat(bits, sign), repeat(bits, sign-1)}
}

// lanes are the dtypes whose special values have an exponent of ones. In
// F8_E4M3 only the mantissa of ones makes it NaN: there the mask takes both.
var lanes = map[DType]laneMasks{
	F64:     masksFor(64, 0x7FF0<<48),
	F32:     masksFor(32, 0x7F80_0000),
	BF16:    masksFor(16, 0x7F80),
	F16:     masksFor(16, 0x7C00),
	F8_E5M2: masksFor(8, 0x7C),
	F8_E4M3: masksFor(8, 0x7F),
}

// scan reports whether an element is special, and any bit that is set.
func (l laneMasks) scan(data []byte) (special bool, bits uint64) {
	var carry0, carry1, carry2, carry3, any0, any1 uint64
	mask, low := l.mask, l.low
	for len(data) >= 64 {
		b := data[:64]
		w0, w1 := binary.LittleEndian.Uint64(b[0:]), binary.LittleEndian.Uint64(b[8:])
		w2, w3 := binary.LittleEndian.Uint64(b[16:]), binary.LittleEndian.Uint64(b[24:])
		w4, w5 := binary.LittleEndian.Uint64(b[32:]), binary.LittleEndian.Uint64(b[40:])
		w6, w7 := binary.LittleEndian.Uint64(b[48:]), binary.LittleEndian.Uint64(b[56:])
		any0 |= w0 | w1 | w2 | w3
		any1 |= w4 | w5 | w6 | w7
		carry0 |= w0&mask + low
		carry1 |= w1&mask + low
		carry2 |= w2&mask + low
		carry3 |= w3&mask + low
		carry0 |= w4&mask + low
		carry1 |= w5&mask + low
		carry2 |= w6&mask + low
		carry3 |= w7&mask + low
		data = data[64:]
	}
	if len(data) > 0 {
		var tail [64]byte
		copy(tail[:], data)
		for i := 0; i < 64; i += 8 {
			w := binary.LittleEndian.Uint64(tail[i:])
			any0 |= w
			carry0 |= w&mask + low
		}
	}
	return (carry0|carry1|carry2|carry3)&l.sign != 0, (any0 | any1) & l.magnitude
}
