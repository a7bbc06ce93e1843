package merge

import (
	"bytes"
	"errors"
	"math"
	"sync/atomic"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/internal/linalg"
)

// Size of the block that is computed at once, so that its delta stays in the
// second-level cache: a multiple of the 12 rows of the largest kernel.
const (
	blockRows = 24
	blockCols = 2048
)

// A computer computes elements of changed tensors in the working precision T.
// It belongs to one goroutine and keeps what it laid out for the plane it
// works on.
//
// Each block is computed twice over: d is the delta with an error bound e, and
// w+d−e and w+d+e are both rounded to the output's dtype. Rounding is
// monotone, so where both agree that is the correctly rounded exact result;
// the few elements where they differ are computed again exactly (Ziv 1991).
type computer[T linalg.Float] struct {
	layouts *layoutCache[T]
	change  *change
	plane   int
	laid    []laidTerm[T]

	left, run []T
	d, part   []T
	w, lo, hi []T
	low, high []float32 // of intervals, where that is enough
	other     []byte
	doubtful  []bool
	bounds    []float64 // error bound of d by row of the block
	exact     exact
	settler   settler[T]
	fused     fused
	slow      rowSet          // elements of the row in work that were decided exactly or must be looked at
	elements  []int32         // the slow ones as a list
	ranges    []dtype.Range   // of the preimages of these, if they are halves
	halves    []uint16        // their merged bits
	numbers   []float64       // and what was added to the preimages
	at        [2]int          // row and column of the element that is probed
	marks     marks           // of the rows in work
	fragment  *fragment       // what is recorded of the change in work; nil: nothing
	reading   *indices        // the indices of the change that is restored
	reader    rowReader       // not nil: gets the rows, which are not computed
	beside    []byte          // the values of a checkpoint that it gets with them
	deltas    []float64       // and the delta
	finished  func(bytes int) // not nil: is called when rows are complete
	stop      *atomic.Bool    // if set, elements stay undecided, and errStopped is soon returned
	before    []T             // the row's delta, where finishing the row overwrites it
	epsilon   float64         // unit roundoff of T
	headroom  float64         // largest magnitude of a delta that cannot overflow T
	addBounds func(lo, hi, w, d []T, e T)
	update    func(w, merged, d []T) linalg.Sums
}

// errStopped ends what nobody waits for any more.
var errStopped = errors.New("stopped")

func newComputer32(l *layoutCache[float32]) *computer[float32] {
	c := &computer[float32]{layouts: l, epsilon: 0x1p-24, headroom: 0x1p120, addBounds: linalg.AddBounds32, update: linalg.Update32}
	c.marks.p.refine = c.refine
	c.stopBy(new(atomic.Bool))
	return c
}

func newComputer64(l *layoutCache[float64]) *computer[float64] {
	c := &computer[float64]{layouts: l, epsilon: 0x1p-53, headroom: 0x1p1000, addBounds: linalg.AddBounds64, update: linalg.Update64}
	c.marks.p.refine = c.refine
	c.stopBy(new(atomic.Bool))
	return c
}

// stopBy lets stop end what is computed.
func (c *computer[T]) stopBy(stop *atomic.Bool) { c.stop, c.exact.stop = stop, stop }

// fill computes the elements [first, last) of the changed tensor into dst.
func (c *computer[T]) fill(dst []byte, ch *change, first, last int, s *Stats) error {
	size := ch.rows * ch.cols
	width := ch.to().Bits() / 8
	if ch.inverse != nil || c.fragment != nil {
		c.marks.p.begin(ch.in, ch.out.DType)
	}
	for first < last {
		plane := first / size
		end := min(last, (plane+1)*size)
		n := (end - first) * width
		l, err := c.layouts.acquire(ch, plane)
		if err != nil {
			return err
		}
		c.change, c.plane, c.laid = ch, plane, l.terms
		err = c.fillPlane(dst[:n], first-plane*size, end-plane*size, s)
		c.layouts.release(l)
		if err != nil {
			return err
		}
		dst, first = dst[n:], end
	}
	return nil
}

// fillPlane computes elements [first, last) of the plane, cut into the
// incomplete first row, whole rows and the incomplete last row.
func (c *computer[T]) fillPlane(dst []byte, first, last int, s *Stats) error {
	cols := c.change.cols
	width := c.change.to().Bits() / 8
	for first < last {
		row, col := first/cols, first%cols
		rows, n := (last-first)/cols, cols
		if col != 0 || rows == 0 {
			rows, n = 1, min(cols-col, last-first)
		}
		rows = min(rows, blockRows)
		part := dst[:rows*n*width]
		for at := 0; at < n; at += blockCols {
			w := min(blockCols, n-at)
			if err := c.block(part[at*width:], n, at, row, rows, col+at, w, s); err != nil {
				return err
			}
		}
		if err := c.finishRows(part, rows, first); err != nil {
			return err
		}
		if c.finished != nil {
			c.finished(len(part))
		}
		dst, first = dst[len(part):], first+rows*n
	}
	return nil
}

// block computes rows × cols elements at (row, col) into dst, whose rows are
// stride elements apart; at is the element of them that dst begins with.
func (c *computer[T]) block(dst []byte, stride, at, row, rows, col, cols int, s *Stats) error {
	if err := c.delta(row, rows, col, cols); err != nil {
		return err
	}
	ch := c.change
	inWidth, width := ch.from().Bits()/8, ch.to().Bits()/8
	c.w, c.lo, c.hi = grow(c.w, cols), grow(c.lo, cols), grow(c.hi, cols)
	for i := range rows {
		from := ((c.plane*ch.rows+row+i)*ch.cols + col) * inWidth
		source := ch.source[from : from+cols*inWidth]
		out := dst[i*stride*width : (i*stride+cols)*width]
		d := c.d[i*cols : (i+1)*cols]
		var err error
		c.slow.begin(cols)
		switch {
		case c.reader != nil:
			err = c.readRow(source, d, c.bounds[i], row+i, col)
		case ch.inverse != nil:
			err = c.restoreRow(out, source, d, place{row + i, col, i, i*stride + at, c.bounds[i]})
		case c.fragment != nil:
			err = c.recordRow(out, source, d, place{row + i, col, i, i*stride + at, c.bounds[i]}, s)
		default:
			err = c.row(out, source, d, c.bounds[i], row+i, col, s)
		}
		if c.stop.Load() { // and elements of the row may be undecided
			return errStopped
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// delta computes the block's delta and the error bound of each row.
func (c *computer[T]) delta(row, rows, col, cols int) error {
	c.d, c.bounds = grow(c.d, rows*cols), grow(c.bounds, rows)
	clear(c.bounds)
	written := false
	for i := range c.laid {
		l := &c.laid[i]
		c.left = grow(c.left, rows*l.rank)
		if !gather(c.left, &l.term, row, rows, &c.run) {
			continue
		}
		for j := range rows {
			n := norm(c.left[j*l.rank : (j+1)*l.rank])
			if !finite(n) && !allFinite(l.left.tensor) {
				return notFinite(l.left.tensor)
			}
			// |Σ_k l_k r_k computed − exact| ≤ (rank+1) u ‖l‖‖r‖ for one chain of
			// fused operations and one rounding of each l_k (Higham 2002,
			// section 3.1), plus one rounding for adding each term.
			c.bounds[j] += float64(float64(l.rank+len(c.laid)+3) * c.epsilon * n * l.maxNorm)
		}
		a := linalg.Mat[T]{Data: c.left, Rows: rows, Cols: l.rank, RowStride: l.rank, ColStride: 1}
		if !written {
			l.packed.Mul(linalg.Mat[T]{Data: c.d, Rows: rows, Cols: cols, RowStride: cols, ColStride: 1}, a, col)
			written = true
			continue
		}
		c.part = grow(c.part, rows*cols)
		l.packed.Mul(linalg.Mat[T]{Data: c.part, Rows: rows, Cols: cols, RowStride: cols, ColStride: 1}, a, col)
		for j, x := range c.part {
			c.d[j] += x
		}
	}
	if !written {
		clear(c.d)
	}
	return nil
}

func norm[T linalg.Float](x []T) float64 {
	sum := 0.0
	for _, v := range x {
		sum += float64(float64(v) * float64(v))
	}
	return math.Sqrt(sum)
}

// smallest bounds what underflow can add to the error of a delta.
func smallest[T linalg.Float]() float64 {
	if T(0x1p-1074) == 0 {
		return 0x1p-140
	}
	return 0x1p-1060
}

// slack widens the error bound of a delta by what computing the bound may have
// lost.
func slack[T linalg.Float](bound float64) float64 { return float64(bound*1.001) + smallest[T]() }

// row rounds one row of the block.
func (c *computer[T]) row(out, source []byte, d []T, bound float64, row, col int, s *Stats) error {
	ch := c.change
	plain := len(c.laid) > 0 && bound <= c.headroom*c.epsilon && ch.out.DType != dtype.F64
	e := T(slack[T](bound))
	if d, ok := any(d).([]float32); ok && plain && ch.fusible() && c.fusedRow(out, source, d, float32(e), row, col, s) {
		return nil
	}
	w := c.w[:len(d)]
	decode(ch.in, w, source)
	switch {
	case len(c.laid) == 0:
		return c.convert(out, source, w, row, col)
	case ch.dora != nil || ch.random != nil:
		return c.boundedRow(out, w, d, bound, row, col, s)
	case !plain:
		return c.exactRow(out, bound, row, col, w, d, s)
	}
	c.addBounds(c.lo[:len(d)], c.hi[:len(d)], w, d, e)
	c.other = grow(c.other, len(out))
	encode(ch.out.DType, out, c.lo[:len(d)])
	encode(ch.out.DType, c.other, c.hi[:len(d)])
	if !bytes.Equal(out, c.other) {
		c.settle(out, c.other, row, col, w)
	}
	return c.account(out, w, d, row, col, s)
}

// settle computes the elements exactly in which two roundings differ.
func (c *computer[T]) settle(out, other []byte, row, col int, w []T) {
	width := c.change.out.DType.Bits() / 8
	c.settler.row = -1
	c.slow.addDifferent(out, other, width)
	for j := range c.slow.all() {
		c.settleElement(out[j*width:(j+1)*width], row, col+j, float64(w[j]))
	}
}

// exactRow computes every element of a row exactly: of a float64 output, or
// where the delta or its bound may overflow T.
func (c *computer[T]) exactRow(out []byte, bound float64, row, col int, w, d []T, s *Stats) error {
	width := c.change.out.DType.Bits() / 8
	c.settler.row = -1
	for j := range d {
		c.slow.add(j)
		c.settleElement(out[j*width:(j+1)*width], row, col+j, float64(w[j]))
	}
	if !finite(bound) { // then d is not known either
		decode(c.change.out.DType, d, out)
		for j := range d {
			d[j] -= w[j]
		}
	}
	return c.account(out, w, d, row, col, s)
}

// account adds a finished row to the statistics. Values of the base that are
// not finite stay as they are, bit for bit; finite values that became
// infinite are an error (AD045).
func (c *computer[T]) account(out []byte, w, d []T, row, col int, s *Stats) error {
	merged := c.lo[:len(d)]
	decode(c.change.out.DType, merged, out)
	u := c.update(w, merged, d)
	if !finite(u.W2 + u.Dot + u.D2) {
		if err := c.keepNonFinite(out, w, merged, row, col); err != nil {
			return err
		}
		u = slowUpdate(w, merged, d)
	}
	s.add(len(d), u)
	return nil
}

// keepNonFinite restores the bits of the base where it is not finite.
func (c *computer[T]) keepNonFinite(out []byte, w, merged []T, row, col int) error {
	ch := c.change
	inWidth, width := ch.in.Bits()/8, ch.out.DType.Bits()/8
	base := ((c.plane*ch.rows+row)*ch.cols + col) * inWidth
	for j := range w {
		switch {
		case finite(w[j]) && !finite(merged[j]):
			return overflow(ch, row, col+j, float64(w[j]))
		case finite(w[j]):
		case ch.in == ch.out.DType:
			copy(out[j*width:(j+1)*width], ch.source[base+j*inWidth:])
		default:
			encode(ch.out.DType, out[j*width:(j+1)*width], w[j:j+1])
		}
	}
	return nil
}

// slowUpdate is update in float64, leaving out what is not finite.
func slowUpdate[T linalg.Float](w, merged, d []T) (u linalg.Sums) {
	for j := range w {
		x, y, z := float64(w[j]), float64(merged[j]), float64(d[j])
		if !finite(x) {
			continue
		}
		u.W2 += float64(x * x)
		u.Dot += float64((y - x) * z)
		u.D2 += float64(z * z)
		if x != y {
			u.Changed++
		}
	}
	return u
}
