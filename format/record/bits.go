package record

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// Bits is a growing run of bits, the first in the lowest bit of the first
// byte. The zero value is empty.
type Bits struct {
	Bytes []byte // all of them after Finish; before, the bits of tail come after
	tail  uint64
	n     uint // bits of tail, at most 63 between calls
}

// Put appends v, which has n bits, at most 56.
func (b *Bits) Put(v uint64, n uint) {
	b.tail |= v << b.n
	if b.n += n; b.n >= 64 {
		b.Bytes = binary.LittleEndian.AppendUint64(b.Bytes, b.tail)
		b.n -= 64
		b.tail = v >> (n - b.n)
	}
}

// Len returns the number of bits.
func (b *Bits) Len() int { return len(b.Bytes)*8 + int(b.n) }

// Reset empties b and keeps its memory.
func (b *Bits) Reset() { *b = Bits{Bytes: b.Bytes[:0]} }

// Append appends the first n bits of src, whose other bits are zero.
func (b *Bits) Append(src []byte, n int) {
	for ; n >= 32; src, n = src[4:], n-32 {
		b.Put(uint64(binary.LittleEndian.Uint32(src)), 32)
	}
	for ; n > 0; src, n = src[1:], n-8 {
		b.Put(uint64(src[0]), uint(min(n, 8)))
	}
}

// Finish fills the last byte with zeros and returns all bytes.
func (b *Bits) Finish() []byte {
	for n := (b.n + 7) / 8; n > 0; n-- {
		b.Bytes = append(b.Bytes, byte(b.tail))
		b.tail >>= 8
	}
	b.tail, b.n = 0, 0
	return b.Bytes
}

// PutIndex appends one of the numbers 0 … last in a truncated binary code: no
// bits for one number, k or k+1 bits for n numbers, 2^k ≤ n < 2^(k+1). Every
// number is as likely as the next, so this is within 0.09 bits of the entropy.
func (b *Bits) PutIndex(v, last uint64) {
	if last == 1 {
		b.Put(v, 1)
		return
	}
	if last == math.MaxUint64 {
		b.Put(v&0xffffffff, 32)
		b.Put(v>>32, 32)
		return
	}
	k, short := truncated(last)
	if v >= short {
		v += short
		k++
	}
	// The highest bit comes first, so that the code is free of prefixes.
	v = bits.Reverse64(v) >> ((64 - k) & 63)
	if k > 32 {
		b.Put(v&0xffffffff, 32)
		v, k = v>>32, k-32
	}
	if k > 0 {
		b.Put(v, k)
	}
}

// An Index is one of the numbers 0 … Last.
type Index struct{ Value, Last uint16 }

// PutIndices is PutIndex for each.
func (b *Bits) PutIndices(indices []Index) {
	for _, x := range indices {
		if x.Last == 1 { // nearly all of them: as PutIndex does
			b.Put(uint64(x.Value), 1)
			continue
		}
		b.PutIndex(uint64(x.Value), uint64(x.Last))
	}
}

// truncated returns the shorter length of the code of last+1 numbers, and how
// many numbers have it.
func truncated(last uint64) (k uint, short uint64) {
	n := last + 1
	k = uint(bits.Len64(n)) - 1
	return k, 1<<(k+1) - n
}

// A BitReader reads what Bits holds.
type BitReader struct {
	src  []byte
	acc  uint64
	n    uint
	fail bool
}

// NewBitReader reads from the first bit of src.
func NewBitReader(src []byte) BitReader { return BitReader{src: src} }

// take returns the next n bits, at most 32.
func (r *BitReader) take(n uint) uint64 {
	if r.n < n {
		r.fill()
		if r.n < n {
			r.fail = true
			return 0
		}
	}
	v := r.acc & (1<<n - 1)
	r.acc >>= n
	r.n -= n
	return v
}

// fill reads on, so that there are 32 bits at least, or all.
func (r *BitReader) fill() {
	if len(r.src) >= 4 {
		r.acc |= uint64(binary.LittleEndian.Uint32(r.src)) << r.n
		r.src, r.n = r.src[4:], r.n+32
		return
	}
	for len(r.src) > 0 && r.n <= 56 {
		r.acc |= uint64(r.src[0]) << r.n
		r.src, r.n = r.src[1:], r.n+8
	}
}

// Index reads what PutIndex wrote. Its errors are for Err.
func (r *BitReader) Index(last uint64) uint64 {
	if last == 1 {
		return r.take(1)
	}
	if last == math.MaxUint64 {
		low := r.take(32)
		return low | r.take(32)<<32
	}
	k, short := truncated(last)
	v := uint64(0)
	for left := k; left > 0; {
		n := min(left, 32)
		v = v<<n | bits.Reverse64(r.take(n))>>(64-n)
		left -= n
	}
	if v >= short {
		v = v<<1 | r.take(1)
		v -= short
	}
	return v
}

// Indices reads the values of what PutIndices wrote. Its errors are for Err.
func (r *BitReader) Indices(indices []Index) {
	for i := range indices {
		x := &indices[i]
		if x.Last == 1 && r.n > 0 {
			x.Value = uint16(r.acc & 1)
			r.acc >>= 1
			r.n--
			continue
		}
		x.Value = uint16(r.Index(uint64(x.Last)))
	}
}

// Err returns an error if more was read than there was, or if more than the
// padding is left.
func (r *BitReader) Err(done bool) error {
	if r.fail || done && (len(r.src) > 0 || r.n >= 8 || r.acc != 0) {
		return errBits
	}
	return nil
}
