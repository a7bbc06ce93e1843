package diff

import (
	"fmt"
	"math"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/internal/linalg"
	"github.com/loratool/loratool/internal/mmap"
)

// A side is one of the two tensors of a delta, a view of a mapped file, or a
// parameter that lies in several.
type side struct {
	dtype dtype.DType
	bytes []byte
	laid  *laid // nil: bytes are all of it
	skip  int   // elements of laid before those of the side
}

// part returns n elements from the given one on.
func (s side) part(first, n int) []byte {
	width := s.dtype.Bits() / 8
	return s.bytes[first*width : (first+n)*width]
}

// from returns the side from an element on, n elements long.
func (s side) from(first, n int) side {
	if s.laid != nil {
		s.skip += first
		return s
	}
	return side{dtype: s.dtype, bytes: s.part(first, n)}
}

func (s side) decode32(x []float32, first int) {
	if s.laid != nil {
		decodeLaid(s.laid, x, s.skip+first, s.dtype.Decode32)
		return
	}
	s.dtype.Decode32(x, s.part(first, len(x)))
}

func (s side) decode64(x []float64, first int) {
	if s.laid != nil {
		decodeLaid(s.laid, x, s.skip+first, s.dtype.Decode64)
		return
	}
	s.dtype.Decode64(x, s.part(first, len(x)))
}

// A delta is X = tuned − base, both seen as a rows×cols matrix. Each element is
// the difference of two exactly decoded values, rounded once to float32: exact
// for two 16-bit values unless their exponents are more than twelve apart.
// It is a linalg.Source that decodes what is asked for, so that a matrix of any
// size can be worked on; see [delta.load] for those that fit in memory.
type delta struct {
	base, tuned side
	rows, cols  int
	exponent    int // what a source gives is X·2^-exponent; 0 but for extreme values
}

// Dims implements linalg.Source.
func (d *delta) Dims() (rows, cols int) { return d.rows, d.cols }

// Block implements linalg.Source. The error is that of a file that shrank.
func (d *delta) Block(buf *[]float32, row, rows, col, cols int) (m linalg.Mat[float32], err error) {
	n := rows*cols + cols
	if cap(*buf) < n {
		*buf = make([]float32, n)
	}
	x, scratch := (*buf)[:rows*cols], (*buf)[rows*cols:n]
	err = mmap.Guard(func() {
		for i := range rows {
			d.row(x[i*cols:(i+1)*cols], scratch, (row+i)*d.cols+col)
		}
	})
	return linalg.Dense(x, rows, cols), err
}

// plane returns the delta of expert e of a stack of matrices.
func (d *delta) plane(e int) *delta {
	n := d.rows * d.cols
	return &delta{
		base:  d.base.from(e*n, n),
		tuned: d.tuned.from(e*n, n),
		rows:  d.rows, cols: d.cols,
	}
}

// row computes len(x) elements from the given one on; base is scratch and
// holds those of the base afterwards.
func (d *delta) row(x, base []float32, first int) {
	n := len(x)
	if d.base.dtype == dtype.F64 || d.tuned.dtype == dtype.F64 || d.exponent != 0 {
		d.wideRow(x, base, first)
		return
	}
	d.tuned.decode32(x, first)
	d.base.decode32(base[:n], first)
	for i, b := range base[:n] {
		x[i] -= b
	}
}

// wideRow is row in float64, for values that float32 would round.
func (d *delta) wideRow(x, base []float32, first int) {
	t, b := make([]float64, len(x)), make([]float64, len(x))
	d.decode(t, b, first)
	for i := range x {
		x[i], base[i] = float32(math.Ldexp(t[i]-b[i], -d.exponent)), float32(b[i])
	}
}

// decode reads len(t) elements of both sides in float64.
func (d *delta) decode(t, b []float64, first int) {
	d.tuned.decode64(t, first)
	d.base.decode64(b, first)
}

// stats is what one look at all elements of a delta tells.
type stats struct {
	base2   float64 // ‖W‖² of the base
	delta2  float64 // ‖X‖²
	changed int     // elements that differ
	noise2  float64 // expected ‖·‖² of the rounding noise in X
	edge    float64 // largest singular value to expect of that noise
	unknown bool    // the change has no norm
}

// add makes s the stats of two deltas together; edge is the larger one.
func (s *stats) add(o stats) {
	s.base2, s.delta2, s.noise2 = s.base2+o.base2, s.delta2+o.delta2, s.noise2+o.noise2
	s.changed, s.edge, s.unknown = s.changed+o.changed, max(s.edge, o.edge), s.unknown || o.unknown
}

// relative returns ‖X‖/‖W‖, nil for a change of zeros.
func (s stats) relative() *float64 {
	r := 0.0
	switch {
	case s.base2 > 0:
		r = math.Sqrt(s.delta2 / s.base2)
	case s.delta2 > 0:
		return nil
	}
	return &r
}

// panelStats are the stats of some rows, before they are added in order, the
// noise in units of its own.
type panelStats struct {
	sums    linalg.Sums
	rowMost float64   // largest noise² of a row
	noise2  float64   // of all rows
	columns []float32 // noise² by column
}

// maxPanels bounds how many panels of rows are measured separately: their
// column sums are kept until all are done.
const maxPanels = 64

// load measures the delta, and copies it into x unless that is nil. Elements
// that are not finite are an error.
func (d *delta) load(workers int, x []float32) (s stats, err error) {
	if d.rows*d.cols == 0 {
		return s, nil
	}
	height := max(16, (d.rows+maxPanels-1)/maxPanels)
	panels := make([]panelStats, (d.rows+height-1)/height)
	var grid dtype.DType
	if err := mmap.Guard(func() { grid = d.tuned.grid(d.rows * d.cols) }); err != nil {
		return s, err
	}
	err = linalg.Split(workers, d.rows, height, func(buf *[]float32, first, n int) error {
		p := &panels[first/height]
		return mmap.Guard(func() { d.panel(p, newNoise(grid), x, buf, first, n) })
	})
	if err != nil {
		return s, err
	}
	columns, rowMost := make([]float64, d.cols), 0.0
	for _, p := range panels {
		s.base2, s.delta2, s.changed = s.base2+p.sums.W2, s.delta2+p.sums.D2, s.changed+p.sums.Changed
		s.noise2 += p.noise2
		rowMost = max(rowMost, p.rowMost)
		for j, v := range p.columns {
			columns[j] += float64(v)
		}
	}
	if d.extreme(s) {
		return d.loadWide(x)
	}
	unit := newNoise(grid).unit
	s.noise2 *= unit
	s.edge = resolved(noiseEdge(rowMost*unit, largestOf(columns)*unit, d.rows, d.cols), s.delta2)
	return s, nil
}

// largestOf returns the largest of some values above zero.
func largestOf(x []float64) (most float64) {
	for _, v := range x {
		most = max(most, v)
	}
	return most
}

var errNotFinite = fmt.Errorf("values that are NaN or infinite")

// panel measures n rows from first on.
func (d *delta) panel(p *panelStats, n2 noise, x []float32, buf *[]float32, first, n int) {
	if cap(*buf) < 3*d.cols {
		*buf = make([]float32, 3*d.cols)
	}
	row, base, tuned := (*buf)[:d.cols], (*buf)[d.cols:2*d.cols], (*buf)[2*d.cols:3*d.cols]
	p.columns = make([]float32, d.cols)
	for i := first; i < first+n; i++ {
		if x != nil {
			row = x[i*d.cols : (i+1)*d.cols]
		}
		d.row(row, base, i*d.cols)
		for j := range tuned {
			tuned[j] = base[j] + row[j]
		}
		u := linalg.Update32(base, tuned, row)
		p.sums.W2, p.sums.D2, p.sums.Changed = p.sums.W2+u.W2, p.sums.D2+u.D2, p.sums.Changed+u.Changed
		sum := n2.add(p.columns, tuned)
		p.noise2 += sum
		p.rowMost = max(p.rowMost, sum)
	}
}
