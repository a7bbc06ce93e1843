package record

import (
	"crypto/sha256"
	"encoding/hex"
)

// PieceBytes is the size of a leaf of a tree digest; the last leaf of a file
// may be shorter.
const PieceBytes = 4 << 20

// A Leaf is the SHA-256 of one piece of a file.
type Leaf = [sha256.Size]byte

// SumPiece returns the leaf of a piece.
func SumPiece(piece []byte) Leaf { return sha256.Sum256(piece) }

// Root returns the tree digest of a file: the SHA-256 of its leaves, one after
// the other, in hexadecimal. Pieces can be hashed in any order and by several
// processors.
func Root(leaves []Leaf) string {
	h := sha256.New()
	for i := range leaves {
		h.Write(leaves[i][:])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Pieces returns the number of leaves of a file of so many bytes.
func Pieces(size int64) int { return int((size + PieceBytes - 1) / PieceBytes) }

// shortLeaf is how much of a leaf a record keeps to tell which piece of a
// merged file differs; the tree digest proves that none does.
const shortLeaf = 8

// ShortLeaves returns the beginnings of leaves.
func ShortLeaves(leaves []Leaf) []byte {
	b := make([]byte, 0, shortLeaf*len(leaves))
	for i := range leaves {
		b = append(b, leaves[i][:shortLeaf]...)
	}
	return b
}

// FirstDifference returns the first leaf that does not begin as short says, or
// -1.
func FirstDifference(leaves []Leaf, short []byte) int {
	for i := range leaves {
		if string(leaves[i][:shortLeaf]) != string(short[i*shortLeaf:(i+1)*shortLeaf]) {
			return i
		}
	}
	return -1
}
