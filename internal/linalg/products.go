package linalg

import (
	"fmt"
	"math"
)

// A Factor is a factor of a product that is read block by block, such as one
// that is decoded on the way.
type Factor[T Float] struct {
	Rows, Cols int
	// Block returns elements (i, j)…(i+rows-1, j+cols-1), either as a view of
	// a matrix or in buf, which has rows·cols elements. It is called from
	// several goroutines.
	Block func(buf []T, i, j, rows, cols int) Mat[T]

	pack func(dst []T, i, j, rows, cols int) // if not nil, packs a block in place of Block and packCols
	mat  Mat[T]                              // what is read, if it lies in memory as it is used
}

// FactorOf returns m as a Factor.
func FactorOf[T Float](m Mat[T]) Factor[T] {
	m.check()
	return Factor[T]{Rows: m.Rows, Cols: m.Cols, mat: m, Block: func(_ []T, i, j, rows, cols int) Mat[T] { return m.View(i, j, rows, cols) }}
}

// A Term is one product of [Products]: C ← A·B, or C ← C + A·B with Add, and
// then C ← C + U·V if there is a U.
type Term[T Float] struct {
	C    Mat[T]
	B    Factor[T]
	Add  bool
	U, V Mat[T] // an update of low rank: U m×r, V r×n
}

// maxLeft bounds the elements of the left-hand factor that are packed at a
// time: 64 MB of float32.
const maxLeft = 1 << 24

// maxDepth bounds the columns of the left-hand factor that are packed at a
// time, so that a deep one, such as logits, is read back from the cache.
const maxDepth = 16 * blockDepth

// unitCols is the widest strip of C that one goroutine computes at a time: a
// block of B of that width (576 KB) stays in the second-level cache.
const unitCols = 256

// Products computes products of one left-hand factor, which is read as it lies
// or packed once, on up to workers goroutines. The arithmetic is that of
// [Gemm], and the result does not depend on workers. The C must not share
// memory with each other or with a factor.
func Products[T Float](workers int, a Mat[T], terms ...Term[T]) {
	l := NewLeft(workers, a)
	defer l.Close()
	l.Products(terms...)
}

// A Left is the left-hand factor of several calls of [Products], packed once if
// it must be and is small enough.
type Left[T Float] struct {
	isa     isa
	workers int
	a       Factor[T]
	scratch *scratch[T]
	whole   *left[T] // nil if it is packed piece by piece
}

// NewLeft prepares a for products on up to workers goroutines and computes
// shorts on the way. It uses a until Close.
func NewLeft[T Float](workers int, a Mat[T], shorts ...Short[T]) *Left[T] {
	a.check()
	return newLeft(best(), workers, FactorOf(a), shorts...)
}

func newLeft[T Float](i isa, workers int, a Factor[T], shorts ...Short[T]) *Left[T] {
	l := &Left[T]{isa: i, workers: workers, a: a, scratch: getScratch[T]()}
	for _, s := range shorts {
		s.term().check(a)
	}
	if rows, depth := l.piece(); rows >= a.Rows && depth >= a.Cols {
		l.whole = &left[T]{isa: i, rows: a.Rows, depth: a.Cols}
		l.pack(l.whole, 0, packShorts(i, shorts))
		return l
	}
	for _, s := range shorts {
		l.Products(s.term())
		s.scale(s.C)
	}
	return l
}

// Close ends the use of the factor.
func (l *Left[T]) Close() { putScratch(l.scratch) }

// piece returns how many rows and columns are packed at a time.
func (l *Left[T]) piece() (rows, depth int) {
	mr, _ := shape[T](l.isa)
	depth = min(l.a.Cols, maxDepth)
	return max(maxLeft/max(depth, 1)/mr*mr, blockRows), depth
}

// Products computes products of the factor; see the function of that name.
func (l *Left[T]) Products(terms ...Term[T]) {
	for _, t := range terms {
		t.check(l.a)
	}
	if l.whole != nil {
		l.whole.mul(l.workers, 0, true, terms)
		return
	}
	rows, depth := l.piece()
	for r := 0; r < l.a.Rows; r += rows {
		p := left[T]{isa: l.isa, rows: min(rows, l.a.Rows-r)}
		for {
			p.depth = min(depth, l.a.Cols-p.from)
			l.pack(&p, r, nil)
			last := p.from+p.depth >= l.a.Cols
			p.mul(l.workers, r, last, terms)
			if last {
				break
			}
			p.from += p.depth
		}
	}
}

// check panics unless C can hold what is computed.
func (t Term[T]) check(a Factor[T]) {
	t.C.checkOutput()
	if t.C.Rows != a.Rows || t.C.Cols != t.B.Cols || a.Cols != t.B.Rows {
		panic(fmt.Sprintf("linalg: %d×%d matrix for the product of %d×%d and %d×%d",
			t.C.Rows, t.C.Cols, a.Rows, a.Cols, t.B.Rows, t.B.Cols))
	}
	if t.U.Cols > 0 || t.V.Rows > 0 {
		t.U.check()
		t.V.check()
		checkProduct(t.C, t.U, t.V)
	}
}

// left is a left-hand factor, or its depth columns from from on: packed, for
// each block of blockDepth columns all panels of rows, or as it lies.
type left[T Float] struct {
	isa         isa
	rows, depth int
	from        int
	data        []T    // if not nil
	mat         Mat[T] // else
}

// block returns the rows from r on for the kc columns from k on.
func (l *left[T]) block(r, rows, k, kc int) operand[T] {
	if l.data == nil {
		return operand[T]{rows: l.mat.View(r, k, rows, kc)}
	}
	mr, _ := shape[T](l.isa)
	return operand[T]{packed: l.data[roundUp(l.rows, mr)*k+r*kc:][:roundUp(rows, mr)*kc]}
}

// strip is how many rows of tiles are packed or multiplied with shorts at a
// time, and computed before what is added to them.
const strip = 4

// fewElements is so few that to wake another goroutine takes longer than to
// pack them.
const fewElements = 1 << 15

// pack packs the part p of the factor whose rows begin at row0, unless it is
// read as it lies, and computes shorts. Few rows are packed in any case, since
// then it is the other factor that is read as it lies.
func (l *Left[T]) pack(p *left[T], row0 int, shorts []short[T]) {
	mr, _ := shape[T](l.isa)
	if m := l.a.mat; m.Rows > directRows && lies(l.isa, m) {
		p.mat = m.View(row0, p.from, p.rows, p.depth)
		if len(shorts) == 0 {
			return
		}
	} else {
		p.data = grow(&l.scratch.a, roundUp(p.rows, mr)*p.depth)
	}
	workers := l.workers
	if p.rows*p.depth <= fewElements {
		workers = 1
	}
	Parallel(workers, (p.rows+strip*mr-1)/(strip*mr), func(u int) {
		r := u * strip * mr
		rows := min(strip*mr, p.rows-r)
		s := getScratch[T]()
		defer putScratch(s)
		for k := 0; k < p.depth && p.data != nil; k += blockDepth {
			kc := min(blockDepth, p.depth-k)
			packRows(p.block(r, rows, k, kc).packed, l.isa, l.a.Block(grow(&s.b, rows*kc), row0+r, p.from+k, rows, kc))
		}
		for _, w := range shorts {
			w.compute(s, p, r, rows)
		}
	})
}

// A unit is the part of C that one goroutine computes at a time.
type unit struct{ term, row, rows, col, cols int }

// mul computes the rows from row0 on of all terms. Last says that these are
// the last columns of the factor.
func (l *left[T]) mul(workers, row0 int, last bool, terms []Term[T]) {
	units := l.units(workers, terms)
	Parallel(workers, len(units), func(n int) {
		u := units[n]
		t := terms[u.term]
		if t.U.Cols > 0 && last {
			t.U, t.V = t.U.View(row0+u.row, 0, u.rows, t.U.Cols), t.V.View(0, u.col, t.V.Rows, u.cols)
		} else {
			t.U, t.V = Mat[T]{}, Mat[T]{}
		}
		s := getScratch[T]()
		defer putScratch(s)
		l.unit(s, t.C.View(row0+u.row, u.col, u.rows, u.cols), t, u)
	})
}

// units cuts all C into strips of columns, and those into rows where the
// strips are too few for the workers.
func (l *left[T]) units(workers int, terms []Term[T]) (list []unit) {
	mr, _ := shape[T](l.isa)
	width, strips := l.width(workers, terms)
	const perWorker = 3 // units, so that one that is slow does not hold up the rest
	pieces := max(1, min(perWorker*workers/strips, l.rows/(4*mr)))
	if workers == 1 {
		pieces = 1
	}
	height := max(roundUp((l.rows+pieces-1)/pieces, mr), mr)
	for i, t := range terms {
		for c := 0; c < t.C.Cols; c += width {
			for r := 0; r < l.rows; r += height {
				list = append(list, unit{i, r, min(height, l.rows-r), c, min(width, t.C.Cols-c)})
			}
		}
	}
	return list
}

// width returns the width of strips with which the worker that has most to do
// has least, and how many strips that makes.
func (l *left[T]) width(workers int, terms []Term[T]) (width, strips int) {
	const each = 8 // columns that take as long as to begin a strip
	_, nr := shape[T](l.isa)
	best := math.MaxInt
	for w := unitCols; w >= 2*nr; w -= nr {
		n := 0
		for _, t := range terms {
			n += (t.C.Cols + w - 1) / w
		}
		if most := (n + workers - 1) / workers * (w + each); most < best {
			best, width, strips = most, w, n
		}
	}
	return width, max(strips, 1)
}

// unit computes one unit c of a term, whose U and V are those of the unit.
func (l *left[T]) unit(s *scratch[T], c Mat[T], t Term[T], u unit) {
	if l.depth == 0 && !t.Add {
		clearMat(c)
	}
	if l.direct(c, t, u) {
		return
	}
	mr, nr := shape[T](l.isa)
	low := l.low(t)
	defer low.close()
	for k := 0; k < l.depth; k += blockDepth {
		kc := min(blockDepth, l.depth-k)
		bp := panels[T]{data: grow(&s.b, roundUp(u.cols, nr)*kc), stride: kc * nr}
		if t.B.pack != nil {
			t.B.pack(bp.data, l.from+k, u.col, kc, u.cols)
		} else {
			packCols(bp.data, nr, t.B.Block(grow(&s.a, kc*u.cols), l.from+k, u.col, kc, u.cols))
		}
		st, rows := step[T]{l.isa, s, t.Add || l.from+k > 0}, u.rows
		if k+kc == l.depth && low != nil {
			rows = strip * mr
		}
		for r := 0; r < u.rows; r += rows {
			n := min(rows, u.rows-r)
			st.mulTiles(c.View(r, 0, n, c.Cols), l.block(u.row+r, n, k, kc), kc, bp)
			if k+kc == l.depth {
				low.add(c, r, n)
			}
		}
	}
	if l.depth == 0 {
		low.add(c, 0, u.rows)
	}
}
