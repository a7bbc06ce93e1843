package linalg

import (
	"encoding/binary"
	"fmt"
	"math"
	"unsafe"
)

// A BF16 is a row-major matrix of bfloat16 values as files hold them: element
// (i, j) is the two bytes from 2·(i·Stride+j) on, little-endian.
type BF16 struct {
	Data               []byte
	Rows, Cols, Stride int
}

// row returns the bytes of row i from column j on, cols of them.
func (m BF16) row(i, j, cols int) []byte { return m.Data[2*(i*m.Stride+j):][:2*cols] }

// check panics unless every element of m lies in m.Data.
func (m BF16) check() {
	if m.Rows < 0 || m.Cols < 0 || m.Stride < 0 ||
		m.Rows > 0 && m.Cols > 0 && (m.Rows-1)*m.Stride+m.Cols > len(m.Data)/2 {
		panic(fmt.Sprintf("linalg: bfloat16 matrix %d×%d with stride %d in %d bytes", m.Rows, m.Cols, m.Stride, len(m.Data)))
	}
}

// A BF16Term is one product of [ProductsBF16]: C ← A·op(B), or C ← C + A·op(B)
// with Add; op transposes if TB says so. Then C ← C + U·V in float32, as in
// [Term].
type BF16Term struct {
	C       Mat[float32]
	B       BF16
	TB, Add bool
	U, V    Mat[float32]
}

// ProductsBF16 is [Products] for right-hand factors of bfloat16 values. A has
// ColStride 1 and is rounded to bfloat16, to nearest even. The inner dimension counts as even,
// with one more product of zeros if it is not, and the products of each pair
// are added in the order of the instruction VDPBF16PS:
//
//	for p in 0…k/2-1:
//		acc = flush(fma(a_i(2p+1), b_(2p+1)j, acc))
//		acc = flush(fma(a_i(2p), b_(2p)j, acc))
//
// in float32, with subnormal operands taken for zero, as flush does with
// results whose magnitude, rounded to 24 bits, is below 2^-126.
func ProductsBF16(workers int, a Mat[float32], terms ...BF16Term) {
	a.check()
	if a.ColStride != 1 && a.Cols > 1 {
		panic(fmt.Sprintf("linalg: left-hand factor with column stride %d", a.ColStride))
	}
	for _, t := range terms {
		t.C.checkOutput()
		t.B.check()
		rows, cols := t.B.Rows, t.B.Cols
		if t.TB {
			rows, cols = cols, rows
		}
		if t.C.Rows != a.Rows || t.C.Cols != cols || a.Cols != rows {
			panic(fmt.Sprintf("linalg: %d×%d matrix for the product of %d×%d and %d×%d",
				t.C.Rows, t.C.Cols, a.Rows, a.Cols, rows, cols))
		}
	}
	productsBF16(bestBF16(), workers, a, terms)
}

func productsBF16(i isa, workers int, a Mat[float32], terms []BF16Term) {
	all := make([]Term[float32], len(terms))
	for n, t := range terms {
		all[n] = Term[float32]{C: t.C, B: t.B.factor(i, t.TB), Add: t.Add, U: t.U, V: t.V}
	}
	l := newLeft(i, workers, rounded(i, a))
	defer l.Close()
	l.Products(all...)
}

// depth returns the inner dimension k as i's kernels count it: in pairs, or
// in the elements of pairs.
func depth(i isa, k int) int {
	if i == avx512Pairs {
		return (k + 1) / 2
	}
	return (k + 1) / 2 * 2
}

// rounded returns the left-hand factor a, rounded to bfloat16, in the form
// that i's kernels take: pairs in the place of float32 values, or the values
// of each pair in the order in which they are added.
func rounded(i isa, a Mat[float32]) Factor[float32] {
	f := Factor[float32]{Rows: a.Rows, Cols: depth(i, a.Cols)}
	f.Block = func(buf []float32, r, k, rows, kc int) Mat[float32] {
		from, n := k, kc
		if i == avx512Pairs {
			from, n = 2*k, 2*kc
		}
		n = min(n, a.Cols-from)
		for l := range rows {
			roundRow(i, buf[l*kc:][:kc], a.Data[(r+l)*a.RowStride+from:][:n])
		}
		return Dense(buf, rows, kc)
	}
	return f
}

// roundRow writes src, rounded and with a zero if it ends within a pair, in
// the form that i's kernels take.
func roundRow(i isa, dst, src []float32) {
	if i == avx512Pairs {
		roundBF16(asBytes(dst), src)
		return
	}
	const chunk = 256
	var space [2 * chunk]byte
	for at := 0; at < len(dst); at += chunk {
		n := min(chunk, len(dst)-at)
		roundBF16(space[:2*n], src[at:min(at+n, len(src))])
		widenBF16(dst[at:at+n], space[:2*n], true)
	}
}

// factor returns the right-hand factor m in the form that i's kernels take.
func (m BF16) factor(i isa, transposed bool) Factor[float32] {
	f := Factor[float32]{Rows: depth(i, m.Rows), Cols: m.Cols}
	if transposed {
		f.Rows, f.Cols = depth(i, m.Cols), m.Rows
	}
	switch pairs := i == avx512Pairs; {
	case transposed && pairs:
		f.Block = m.pairsOfColumns
	case transposed:
		f.Block = m.columns
	case pairs:
		f.pack = m.packPairs
	default:
		f.Block = m.rows
	}
	return f
}

// pairsOfColumns is the block of mᵀ, whose pairs lie one behind the other in
// the rows of m.
func (m BF16) pairsOfColumns(buf []float32, i, j, rows, cols int) Mat[float32] {
	if m.Cols%2 == 0 && m.Stride%2 == 0 {
		return Mat[float32]{asPairs(m.Data[2*(j*m.Stride+2*i):]), rows, cols, 1, m.Stride / 2}
	}
	all := asBytes(buf[:rows*cols])
	for c := range cols {
		to := all[4*c*rows:][:4*rows]
		clear(to[copy(to, m.row(j+c, 2*i, min(2*rows, m.Cols-2*i))):])
	}
	return Dense(buf, cols, rows).T()
}

// columns is the block of mᵀ in order of addition.
func (m BF16) columns(buf []float32, i, j, rows, cols int) Mat[float32] {
	n := min(rows, m.Cols-i)
	for c := range cols {
		to, from := buf[c*rows:][:rows], m.row(j+c, i, n)
		widenBF16(to[:n/2*2], from, true)
		if n < rows { // the last of an odd number
			widenBF16(to[n:], from[2*n-2:], false)
			to[n-1] = 0
		}
	}
	return Dense(buf, cols, rows).T()
}

// pairWidth is the width of a panel of pairs.
const pairWidth = 32

// packPairs packs elements (i, j)…(i+rows-1, j+cols-1) of m, taken as pairs of
// rows, into panels.
func (m BF16) packPairs(dst []float32, i, j, rows, cols int) {
	if cols%pairWidth > 0 {
		clear(dst[cols/pairWidth*pairWidth*rows:])
	}
	for r := range rows {
		low, high := 2*(i+r), 2*(i+r)+1
		lowRow := m.row(low, j, cols)
		if high < m.Rows {
			interleave(dst[r*pairWidth:], rows*pairWidth, lowRow, m.row(high, j, cols))
			continue
		}
		for n := range cols {
			dst[n/pairWidth*rows*pairWidth+r*pairWidth+n%pairWidth] = pair(lowRow[2*n:], []byte{0, 0})
		}
	}
}

// rows is the block of m with the rows in order of addition.
func (m BF16) rows(buf []float32, i, j, rows, cols int) Mat[float32] {
	for r := range rows {
		to := buf[r*cols:][:cols]
		if at := (i + r) ^ 1; at < m.Rows {
			widenBF16(to, m.row(at, j, cols), false)
		} else {
			clear(to)
		}
	}
	return Dense(buf, rows, cols)
}

// roundBF16 writes src rounded to bfloat16, to nearest even, and zeros behind
// it. A NaN becomes the quiet one.
func roundBF16(dst []byte, src []float32) {
	clear(dst[2*len(src):])
	for n := roundBF16Part(dst, src); n < len(src); n++ {
		binary.LittleEndian.PutUint16(dst[2*n:], roundOne(src[n]))
	}
}

func roundOne(x float32) uint16 {
	if x != x {
		return 0x7fc0
	}
	b := math.Float32bits(x)
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// widenBF16 writes src as float32 values; swapped, with those of each pair
// exchanged.
func widenBF16(dst []float32, src []byte, swapped bool) {
	from := 0
	if swapped {
		from = 1
	}
	for n := widenBF16Part(dst, src, swapped); n < len(dst); n++ {
		dst[n] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(src[2*(n^from):])) << 16)
	}
}

// interleave writes pairs of values of two rows into panels that are stride
// apart.
func interleave(dst []float32, stride int, low, high []byte) {
	for n := interleavePart(dst, stride, low, high); n < len(low)/2; n++ {
		dst[n/pairWidth*stride+n%pairWidth] = pair(low[2*n:], high[2*n:])
	}
}

// pair returns the pair of the first values of two rows.
func pair(low, high []byte) float32 {
	l, h := binary.LittleEndian.Uint16(low), binary.LittleEndian.Uint16(high)
	return math.Float32frombits(uint32(h)<<16 | uint32(l))
}

// asPairs returns the whole pairs of data in the place of float32 values,
// which the code that packs moves bit for bit.
func asPairs(data []byte) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(data))), len(data)/4)
}

func asBytes(x []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
}

// fmaFlush returns x·y + z as a fused multiply-add of a processor that takes
// subnormal numbers for zero (MXCSR.DAZ and FTZ). A result is subnormal if it
// is below 2^-126 after it was rounded to 24 bits with any exponent.
func fmaFlush[T Float](x, y, z T) T {
	return T(fmaFlush32(flush(float32(x)), flush(float32(y)), flush(float32(z))))
}

func fmaFlush32(x, y, z float32) float32 {
	const minNormal = 0x1p-126
	r := fma32(x, y, z)
	if r != minNormal && r != -minNormal {
		return flush(r)
	}
	// Rounded to fewer bits, as subnormal numbers are, r may hide a smaller sum.
	p := float64(float64(x) * float64(y))
	s := roundToOdd(p, float64(z), p+float64(z))
	if math.Abs(s) < minNormal*(1-0x1p-25) {
		return float32(math.Copysign(0, s))
	}
	return r
}

// flush returns x, or a zero of its sign if x is subnormal.
func flush(x float32) float32 {
	if x > -0x1p-126 && x < 0x1p-126 {
		return float32(math.Copysign(0, float64(x)))
	}
	return x
}
