package validate

import (
	"encoding/binary"

	"github.com/loratool/loratool/format/dtype"
)

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
var lanes = map[dtype.DType]laneMasks{
	dtype.F64:     masksFor(64, 0x7FF0<<48),
	dtype.F32:     masksFor(32, 0x7F80_0000),
	dtype.BF16:    masksFor(16, 0x7F80),
	dtype.F16:     masksFor(16, 0x7C00),
	dtype.F8_E5M2: masksFor(8, 0x7C),
	dtype.F8_E4M3: masksFor(8, 0x7F),
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
