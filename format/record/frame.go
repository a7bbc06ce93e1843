package record

import "encoding/binary"

// frameLength returns how long the zstd frame is that b begins with, by its
// headers alone (RFC 8878, 3.1.1): a decoder goes on with the next one.
func frameLength(b []byte) (n int, ok bool) {
	if len(b) < 6 || binary.LittleEndian.Uint32(b) != 0xFD2FB528 {
		return 0, false
	}
	descriptor := b[4]
	single := descriptor>>5&1 == 1
	n = 5 + [...]int{0, 1, 2, 4}[descriptor&3]
	if !single {
		n++
	}
	switch size := descriptor >> 6; {
	case size > 0:
		n += 1 << size
	case single:
		n++
	}
	for last := false; !last; {
		if len(b)-n < 3 {
			return 0, false
		}
		block := int(b[n]) | int(b[n+1])<<8 | int(b[n+2])<<16
		last = block&1 == 1
		size := block >> 3
		if block>>1&3 == 1 { // one byte, repeated
			size = 1
		}
		if n += 3; len(b)-n < size {
			return 0, false
		}
		n += size
	}
	if descriptor>>2&1 == 1 {
		n += 4
	}
	return n, n <= len(b)
}
