// Package crc computes the CRC-32C and the CRC-32 of the same bytes in one
// pass. What hash/crc32 says of one sum, its numbers included, holds of both.
package crc

import (
	"encoding/binary"
	"hash/crc32"
)

// least is the length from which folding is faster than hash/crc32, as
// BenchmarkUpdate has it. The assembly needs 256.
const least = 512

var castagnoliTable = crc32.MakeTable(crc32.Castagnoli)

// A kernel is an implementation.
type kernel struct {
	name string
	fold func(n int, p *byte, castagnoli, ieee uint32) (low, high uint64) // nil: hash/crc32 does it all
}

var generic = kernel{name: "generic"}

// Update returns crc32.Update of both sums, for the tables of
// crc32.Castagnoli and crc32.IEEE.
func Update(castagnoli, ieee uint32, p []byte) (uint32, uint32) {
	return best().update(castagnoli, ieee, p)
}

func (k *kernel) update(castagnoli, ieee uint32, p []byte) (uint32, uint32) {
	if k.fold == nil || len(p) < least {
		return crc32.Update(castagnoli, castagnoliTable, p), crc32.Update(ieee, crc32.IEEETable, p)
	}
	n := len(p) / 16 * 16
	low, high := k.fold(n, &p[0], ^castagnoli, ^ieee)
	var folded [16]byte
	binary.LittleEndian.PutUint64(folded[:], low)
	binary.LittleEndian.PutUint64(folded[8:], high)
	castagnoli, ieee = states(0, 0, folded[:])
	castagnoli, ieee = states(castagnoli, ieee, p[n:])
	return ^castagnoli, ^ieee
}

// states goes on with a few bytes from states without inversion, on the stack,
// which hash/crc32 does not leave them on.
func states(castagnoli, ieee uint32, p []byte) (uint32, uint32) {
	for _, b := range p {
		castagnoli = castagnoliTable[byte(castagnoli)^b] ^ castagnoli>>8
		ieee = crc32.IEEETable[byte(ieee)^b] ^ ieee>>8
	}
	return castagnoli, ieee
}
