// Package cpu is the backend on the processor: products by internal/linalg,
// everything else in plain loops. Results are the same bits for every number
// of workers and every processor.
package cpu

import (
	"fmt"
	"math"
	"sync"
	"unsafe"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/internal/linalg"
	"github.com/loratool/loratool/internal/mmap"
	"github.com/loratool/loratool/train/internal/backend"
)

// A Backend computes on up to a number of goroutines. It is used by one
// caller at a time.
type Backend struct {
	workers int
	exact   bool
	scratch sync.Pool // of *[]float32
	packs   sync.Pool // of *factors
}

var _ backend.Backend = (*Backend)(nil)

// New returns a backend of the given number of workers, at least one.
func New(workers int) *Backend { return &Backend{workers: max(workers, 1)} }

// SetExact says whether products with frozen BF16 weights are those of the
// decoded weights in float32. If not, as at first, the other factor is rounded
// to BF16, which takes half the time on a processor with AVX512-BF16. It returns
// what was said before.
func (b *Backend) SetExact(exact bool) (before bool) {
	before, b.exact = b.exact, exact
	return before
}

// mem is host memory: values, or frozen bytes that must be decoded.
type mem struct {
	values []float32 // nil if raw
	raw    []byte
	dtype  dtype.DType
	frozen bool
}

func (m *mem) DType() dtype.DType { return m.dtype }

func (m *mem) Len() int {
	if m.values != nil {
		return len(m.values)
	}
	return len(m.raw) * 8 / m.dtype.Bits()
}

// Alloc returns n zeros.
func (b *Backend) Alloc(n int) (backend.Mem, error) {
	if n < 0 || n > math.MaxInt/8 {
		return nil, fmt.Errorf("%d values do not fit in memory", n)
	}
	m := &mem{values: make([]float32, n), dtype: dtype.F32}
	mmap.LargePages(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(m.values))), 4*n))
	return m, nil
}

// Frozen returns data as it is: no copy is made.
func (b *Backend) Frozen(d dtype.DType, data []byte) (backend.Mem, error) {
	if !d.Float() {
		return nil, fmt.Errorf("cannot compute with weights of dtype %s", d)
	}
	m := &mem{raw: data, dtype: d, frozen: true}
	if d == dtype.F32 && len(data) > 0 && littleEndian() && uintptr(unsafe.Pointer(&data[0]))%4 == 0 {
		m.values = unsafe.Slice((*float32)(unsafe.Pointer(&data[0])), len(data)/4)
	}
	return m, nil
}

func littleEndian() bool {
	x := uint16(1)
	return *(*byte)(unsafe.Pointer(&x)) == 1
}

// Free does nothing: memory goes when nothing refers to it.
func (b *Backend) Free(backend.Mem) {}

// Err returns nil: no operation here can fail.
func (b *Backend) Err() error { return nil }

// Write copies src to dst.
func (b *Backend) Write(dst backend.Mat, src []float32) {
	checkLen(len(src), dst.Rows*dst.Cols)
	d := writable(dst)
	for i := range dst.Rows {
		copy(d.row(i), src[i*dst.Cols:])
	}
}

// Read copies src to dst.
func (b *Backend) Read(dst []float32, src backend.Mat) {
	checkLen(len(dst), src.Rows*src.Cols)
	for i := range src.Rows {
		rowOf(src, i, dst[i*src.Cols:][:src.Cols])
	}
}

// A matrix is a view of values.
type matrix struct {
	data               []float32
	rows, cols, stride int
}

func (m matrix) row(i int) []float32 { return m.data[i*m.stride:][:m.cols:m.cols] }

func (m matrix) linalg() linalg.Mat[float32] {
	return linalg.Mat[float32]{Data: m.data, Rows: m.rows, Cols: m.cols, RowStride: m.stride, ColStride: 1}
}

// values returns m, which must not need decoding.
func values(m backend.Mat) matrix {
	if m.Empty() {
		return matrix{rows: m.Rows, cols: m.Cols, stride: m.Stride}
	}
	h := m.Mem.(*mem)
	if h.values == nil {
		panic("cpu: operation on weights that must be decoded")
	}
	return matrix{h.values[m.Off:], m.Rows, m.Cols, m.Stride}
}

// writable is values for an output.
func writable(m backend.Mat) matrix {
	if !m.Empty() && m.Mem.(*mem).frozen {
		panic("cpu: write to frozen weights")
	}
	return values(m)
}

// rowOf returns row i of m, in buf if it must be decoded or copied.
func rowOf(m backend.Mat, i int, buf []float32) []float32 {
	h := m.Mem.(*mem)
	at := m.Off + i*m.Stride
	if h.values != nil {
		copy(buf, h.values[at:at+m.Cols])
		return buf
	}
	size := h.dtype.Bits() / 8
	h.dtype.Decode32(buf[:m.Cols], h.raw[at*size:(at+m.Cols)*size])
	return buf
}

// vector returns the one row of m, decoded; nil for the empty matrix.
func vector(m backend.Mat) []float32 {
	if m.Empty() {
		return nil
	}
	if h := m.Mem.(*mem); h.values != nil {
		return h.values[m.Off:][:m.Cols]
	}
	return rowOf(m, 0, make([]float32, m.Cols))
}

func checkLen(got, want int) {
	if got != want {
		panic(fmt.Sprintf("cpu: %d values for %d", got, want))
	}
}

// same panics unless the matrices have one shape.
func same(ms ...backend.Mat) {
	for _, m := range ms[1:] {
		if m.Rows != ms[0].Rows || m.Cols != ms[0].Cols {
			panic(fmt.Sprintf("cpu: %d×%d matrix beside %d×%d", m.Rows, m.Cols, ms[0].Rows, ms[0].Cols))
		}
	}
}

// grain is how many elements are worth a goroutine of their own.
const grain = 1 << 14

// split calls f for ranges that cover [0, n); an item has cost elements.
func (b *Backend) split(n, cost int, f func(from, to int)) {
	step := max(1, grain/max(cost, 1))
	linalg.Parallel(b.workers, (n+step-1)/step, func(i int) { f(i*step, min((i+1)*step, n)) })
}

// buffer returns n values of any content; give them back with release.
func (b *Backend) buffer(n int) *[]float32 {
	p, ok := b.scratch.Get().(*[]float32)
	if !ok {
		p = new([]float32)
	}
	if cap(*p) < n {
		*p = make([]float32, n)
	}
	*p = (*p)[:n]
	return p
}

func (b *Backend) release(p *[]float32) { b.scratch.Put(p) }
