package record

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"github.com/loratool/loratool/internal/crc"
)

// PieceBytes is the size of the pieces of a weights file that are summed up on
// their own; the last one may be shorter.
const PieceBytes = 4 << 20

// A Sum is the check sum of a piece: its CRC-32C and its CRC-32. Together they
// find every change of up to 64 bits in a row, and miss one in 2^64 of others.
// They guard against accidents, at the speed of memory: who wants to forge a
// checkpoint can forge its record too.
type Sum [8]byte

// A Summer sums up a piece part by part. The zero value has seen nothing.
type Summer struct{ castagnoli, ieee uint32 }

// Add goes on with the next bytes of the piece.
func (s *Summer) Add(part []byte) {
	s.castagnoli, s.ieee = crc.Update(s.castagnoli, s.ieee, part)
}

// Sum returns the check sum of what was added.
func (s *Summer) Sum() (sum Sum) {
	binary.LittleEndian.PutUint32(sum[:], s.castagnoli)
	binary.LittleEndian.PutUint32(sum[4:], s.ieee)
	return sum
}

// SumPiece returns the check sum of a piece.
func SumPiece(piece []byte) Sum {
	var s Summer
	s.Add(piece)
	return s.Sum()
}

// Join puts sums one after the other.
func Join(sums []Sum) []byte {
	b := make([]byte, 0, len(sums)*len(Sum{}))
	for i := range sums {
		b = append(b, sums[i][:]...)
	}
	return b
}

// Digest returns the digest of a file: the SHA-256 of the sums of its pieces,
// in hexadecimal.
func Digest(sums []Sum) string { return DigestOf(Join(sums)) }

// DigestOf is Digest of sums that are joined.
func DigestOf(joined []byte) string {
	d := sha256.Sum256(joined)
	return hex.EncodeToString(d[:])
}

// Pieces returns the number of pieces of a file of so many bytes.
func Pieces(size int64) int { return int((size + PieceBytes - 1) / PieceBytes) }

// Is reports whether s is sum i of those joined.
func (s Sum) Is(joined []byte, i int) bool {
	return string(s[:]) == string(joined[i*len(s):(i+1)*len(s)])
}
