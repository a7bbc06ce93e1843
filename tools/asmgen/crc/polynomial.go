package main

import (
	"hash/crc32"
	"math/bits"
)

// Polynomials over GF(2) of degree below 64 are words whose bit i is the
// coefficient of x^i. Arithmetic is modulo the product of the polynomials of
// both sums, of degree 64: what is equal modulo the product is equal modulo
// each, so one remainder serves both.
var (
	castagnoli = whole(crc32.Castagnoli)
	ieee       = whole(crc32.IEEE)
	modulus    = product(castagnoli, ieee) // without its x^64
)

// whole returns a polynomial of hash/crc32, where bit i is the coefficient of
// x^(31-i) and x^32 is left out.
func whole(reversed uint32) uint64 { return 1<<32 | uint64(bits.Reverse32(reversed)) }

// product returns a·b without the coefficients from x^64 on.
func product(a, b uint64) (p uint64) {
	for i := range 64 {
		p ^= a << i * (b >> i & 1)
	}
	return p
}

// remainder returns a modulo p.
func remainder(a, p uint64) uint64 {
	for bits.Len64(a) >= bits.Len64(p) {
		a ^= p << (bits.Len64(a) - bits.Len64(p))
	}
	return a
}

// shift returns a·x^n modulo the modulus.
func shift(a uint64, n int) uint64 {
	for range n {
		a = a<<1 ^ modulus*(a>>63)
	}
	return a
}

// power returns x^n modulo the modulus for n ≥ -1. The modulus is 1 + x·q, so
// q is the inverse of x.
func power(n int) uint64 { return shift(1<<63|modulus>>1, n+1) }

// idempotents returns what is 1 modulo castagnoli and 0 modulo ieee, and the
// other way about, as the Chinese remainder theorem has it. The polynomials of
// degree below 32 are a field modulo ieee, which is irreducible: the inverse of
// one is its power 2^32 - 2 = 2 + 4 + … + 2^31.
func idempotents() (ofCastagnoli, ofIEEE uint64) {
	square, inverse := remainder(castagnoli, ieee), uint64(1)
	for range 31 {
		square = remainder(product(square, square), ieee)
		inverse = remainder(product(inverse, square), ieee)
	}
	ofIEEE = product(inverse, castagnoli)
	return ofIEEE ^ 1, ofIEEE
}
