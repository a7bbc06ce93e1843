package merge

import (
	"math"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/internal/linalg"
)

// A factor is a strided view of a rectangle of an adapter tensor: element
// (i, j) is the value at offset + i·rowStride + j·colStride.
type factor struct {
	tensor               adapter.Tensor
	offset               int
	rowStride, colStride int
}

// at returns element (i, j), exactly.
func (f factor) at(i, j int) float64 {
	width := f.tensor.DType.Bits() / 8
	at := (f.offset + i*f.rowStride + j*f.colStride) * width
	var x [1]float64
	f.tensor.DType.Decode64(x[:], f.tensor.Bytes[at:at+width])
	return x[0]
}

// row decodes row i, exactly.
func (f factor) row(dst []float64, i int) {
	width := f.tensor.DType.Bits() / 8
	if f.colStride == 1 {
		at := (f.offset + i*f.rowStride) * width
		f.tensor.DType.Decode64(dst, f.tensor.Bytes[at:at+len(dst)*width])
		return
	}
	for j := range dst {
		dst[j] = f.at(i, j)
	}
}

// A term is one low-rank part of the delta of a plane, in the plane's own
// coordinates:
//
//	ΔW[rowSpan, colSpan] += coefficient · left · right
//
// with left [rowSpan.Len, rank] and right [rank, colSpan.Len]. A transposed
// module has the roles of A and B exchanged; an expert is a strided part of
// them.
type term struct {
	coefficient      float64 // weight · scaling, rounded to float64
	rank             int
	left, right      factor
	rowSpan, colSpan adapter.Span
	outOnColumns     bool // the module's outputs run along the columns
}

// newTerm lays the factors of an update over one of its pieces.
func newTerm(u adapter.Update, p adapter.Piece, weight float64) term {
	A, B := u.Module.A, u.Module.B
	in := A.Elements() / A.Shape[0]
	bRow := B.Elements() / B.Shape[0] // experts·rank
	left := factor{tensor: B, rowStride: bRow * p.Out.Step, colStride: u.Experts,
		offset: bRow*p.Out.First + p.Source}
	right := factor{tensor: A, rowStride: in, colStride: p.In.Step,
		offset: p.Source*u.Rank*in + p.In.First}
	t := term{coefficient: weight * u.Module.Scaling(), rank: u.Rank, left: left, right: right, rowSpan: p.Row, colSpan: p.Col}
	if p.Transposed {
		t.left = factor{tensor: A, offset: right.offset, rowStride: right.colStride, colStride: right.rowStride}
		t.right = factor{tensor: B, offset: left.offset, rowStride: left.colStride, colStride: left.rowStride}
		t.outOnColumns = true
	}
	return t
}

// index returns the position of x in the span, or -1.
func index(s adapter.Span, x int) int {
	x -= s.First
	if x < 0 || x%s.Step != 0 || x/s.Step >= s.Len {
		return -1
	}
	return x / s.Step
}

// A laidTerm is a term with its right factor decoded and packed, spread over
// the columns of the plane.
type laidTerm[T linalg.Float] struct {
	term
	values  []T // right, [rank, plane columns], row-major, 0 outside colSpan
	packed  linalg.Packed[T]
	maxNorm float64 // largest norm of a column of values
}

// lay decodes the right factor of t into l, whose memory is used again.
func (l *laidTerm[T]) lay(t term, cols int) {
	l.term = t
	l.values = grow(l.values, t.rank*cols)
	clear(l.values)
	for k := range t.rank {
		row := l.values[k*cols : (k+1)*cols]
		scatter(row, t.colSpan, t.right, k)
	}
	l.packed.Pack(linalg.Mat[T]{Data: l.values, Rows: t.rank, Cols: cols, RowStride: cols, ColStride: 1})
	l.maxNorm = maxColumnNorm(l.values, t.rank, cols)
}

// scatter decodes row k of f to the positions of the span in dst.
func scatter[T linalg.Float](dst []T, s adapter.Span, f factor, k int) {
	width := f.tensor.DType.Bits() / 8
	if f.colStride == 1 && s.Step == 1 {
		at := (f.offset + k*f.rowStride) * width
		decode(f.tensor.DType, dst[s.First:s.First+s.Len], f.tensor.Bytes[at:at+s.Len*width])
		return
	}
	for j := range s.Len {
		at := (f.offset + k*f.rowStride + j*f.colStride) * width
		to := s.First + j*s.Step
		decode(f.tensor.DType, dst[to:to+1], f.tensor.Bytes[at:at+width])
	}
}

// longestStride is the distance of values up to which decoding all between
// them is cheaper than decoding each alone.
const longestStride = 16

// strided decodes row i of f, whose values lie apart. run is memory that is
// used again.
func strided[T linalg.Float](dst []T, f factor, i int, run *[]T) {
	width, stride := f.tensor.DType.Bits()/8, f.colStride
	from := (f.offset + i*f.rowStride) * width
	if stride > longestStride || len(dst) == 0 {
		for k := range dst {
			at := from + k*stride*width
			decode(f.tensor.DType, dst[k:k+1], f.tensor.Bytes[at:at+width])
		}
		return
	}
	n := (len(dst)-1)*stride + 1
	*run = grow(*run, n)
	decode(f.tensor.DType, *run, f.tensor.Bytes[from:from+n*width])
	for k := range dst {
		dst[k] = (*run)[k*stride]
	}
}

// gather decodes the rows [first, first+rows) of the plane that the term
// covers into dst [rows, rank], times the coefficient; rows outside the span
// are 0. It reports whether any row is covered. run is memory that is used
// again.
func gather[T linalg.Float](dst []T, t *term, first, rows int, run *[]T) bool {
	covered := false
	width := t.left.tensor.DType.Bits() / 8
	for i := range rows {
		row := dst[i*t.rank : (i+1)*t.rank]
		at := index(t.rowSpan, first+i)
		if at < 0 {
			clear(row)
			continue
		}
		covered = true
		if t.left.colStride == 1 {
			from := (t.left.offset + at*t.left.rowStride) * width
			decode(t.left.tensor.DType, row, t.left.tensor.Bytes[from:from+t.rank*width])
		} else {
			strided(row, t.left, at, run)
		}
		for k := range row {
			row[k] = T(float64(row[k]) * t.coefficient)
		}
	}
	return covered
}

// decode reads values in the precision T; it is exact unless F64 is read as
// float32, which the engine does not do.
func decode[T linalg.Float](d dtype.DType, dst []T, src []byte) {
	switch dst := any(dst).(type) {
	case []float32:
		d.Decode32(dst, src)
	case []float64:
		d.Decode64(dst, src)
	}
}

func encode[T linalg.Float](d dtype.DType, dst []byte, src []T) {
	switch src := any(src).(type) {
	case []float32:
		d.Encode32(dst, src)
	case []float64:
		d.Encode64(dst, src)
	}
}

// maxColumnNorm returns the largest Euclidean norm of a column of a
// [rows, cols] matrix, in float64.
func maxColumnNorm[T linalg.Float](m []T, rows, cols int) float64 {
	const block = 256
	var sums [block]float64
	most := 0.0
	for c := 0; c < cols; c += block {
		n := min(block, cols-c)
		clear(sums[:])
		for r := range rows {
			for j, x := range m[r*cols+c : r*cols+c+n] {
				sums[j] += float64(float64(x) * float64(x))
			}
		}
		for _, s := range sums[:n] {
			most = max(most, s) // NaN if one of them is
		}
	}
	return math.Sqrt(most)
}

func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}
