// Package philox generates random numbers by counter: the number of an element
// depends on a key and the element's index alone, not on what was drawn before,
// by whom or in which order.
package philox

import (
	"crypto/sha256"
	"encoding/binary"
)

// A Key selects a sequence.
type Key struct{ k0, k1 uint32 }

// NewKey derives a key from a seed and a name; purpose keeps the sequences of
// different uses apart.
func NewKey(purpose string, seed uint64, name string) Key {
	h := sha256.New()
	h.Write([]byte(purpose + "\x00"))
	h.Write(binary.LittleEndian.AppendUint64(nil, seed))
	h.Write([]byte(name))
	sum := h.Sum(nil)
	return Key{binary.LittleEndian.Uint32(sum), binary.LittleEndian.Uint32(sum[4:])}
}

// Word returns the random 32 bits of element i.
func (k Key) Word(i uint64) uint32 { return k.Block(i)[i&3] }

// Block returns the words of the four elements from i&^3 on.
func (k Key) Block(i uint64) [4]uint32 {
	return generate(k.k0, k.k1, uint32(i>>2), uint32(i>>34))
}

// generate is Philox4x32-10 with the counter (c0, c1, 0, 0): Salmon et al.,
// "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
func generate(k0, k1, c0, c1 uint32) [4]uint32 {
	x0, x1, x2, x3 := uint64(c0), c1, uint64(0), uint32(0)
	for range 10 {
		p, q := x0*0xD2511F53, x2*0xCD9E8D57
		x0, x1, x2, x3 = uint64(uint32(q>>32)^x1^k0), uint32(q), uint64(uint32(p>>32)^x3^k1), uint32(p)
		k0 += 0x9E3779B9
		k1 += 0xBB67AE85
	}
	return [4]uint32{uint32(x0), x1, uint32(x2), x3}
}
