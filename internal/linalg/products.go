package linalg

import (
	"fmt"
	"sync"
	"sync/atomic"
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
}

// FactorOf returns m as a Factor.
func FactorOf[T Float](m Mat[T]) Factor[T] {
	m.check()
	return Factor[T]{Rows: m.Rows, Cols: m.Cols, Block: func(_ []T, i, j, rows, cols int) Mat[T] { return m.View(i, j, rows, cols) }}
}

// A Term is one product of [Products]: C ← A·B, or C ← C + A·B with Add.
type Term[T Float] struct {
	C   Mat[T]
	B   Factor[T]
	Add bool
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

// Products computes products of one left-hand factor, which is packed once,
// on up to workers goroutines. The arithmetic is that of [Gemm], and the
// result does not depend on workers. The C must not share memory with each
// other or with a factor.
func Products[T Float](workers int, a Mat[T], terms ...Term[T]) {
	a.check()
	for _, t := range terms {
		t.C.checkOutput()
		if t.C.Rows != a.Rows || t.C.Cols != t.B.Cols || a.Cols != t.B.Rows {
			panic(fmt.Sprintf("linalg: %d×%d matrix for the product of %d×%d and %d×%d",
				t.C.Rows, t.C.Cols, a.Rows, a.Cols, t.B.Rows, t.B.Cols))
		}
	}
	products(best(), workers, FactorOf(a), terms)
}

func products[T Float](i isa, workers int, a Factor[T], terms []Term[T]) {
	mr, _ := shape[T](i)
	span := min(a.Cols, maxDepth)
	rows := max(maxLeft/max(span, 1)/mr*mr, blockRows)
	s := getScratch[T]()
	defer putScratch(s)
	for r := 0; r < a.Rows; r += rows {
		n := min(rows, a.Rows-r)
		l := left[T]{isa: i, rows: n, data: grow(&s.a, roundUp(n, mr)*span)}
		for {
			l.depth = min(maxDepth, a.Cols-l.from)
			l.pack(workers, a, r)
			l.mul(workers, r, terms)
			if l.from += l.depth; l.from >= a.Cols {
				break
			}
		}
	}
}

// left is a packed left-hand factor, or its depth columns from from on: for
// each block of blockDepth columns all panels of rows.
type left[T Float] struct {
	isa         isa
	rows, depth int
	from        int
	data        []T
}

// block returns the panels from row r on for the columns from k on.
func (l *left[T]) block(r, rows, k, kc int) []T {
	mr, _ := shape[T](l.isa)
	return l.data[roundUp(l.rows, mr)*k+r*kc:][:roundUp(rows, mr)*kc]
}

// pack packs the rows of a from row0 on.
func (l *left[T]) pack(workers int, a Factor[T], row0 int) {
	mr, _ := shape[T](l.isa)
	strip := 4 * mr
	Parallel(workers, (l.rows+strip-1)/strip, func(u int) {
		r := u * strip
		rows := min(strip, l.rows-r)
		s := getScratch[T]()
		defer putScratch(s)
		for k := 0; k < l.depth; k += blockDepth {
			kc := min(blockDepth, l.depth-k)
			packRows(l.block(r, rows, k, kc), l.isa, a.Block(grow(&s.b, rows*kc), row0+r, l.from+k, rows, kc))
		}
	})
}

// A unit is the part of C that one goroutine computes at a time.
type unit struct{ term, row, rows, col, cols int }

// mul computes the rows from row0 on of all terms.
func (l *left[T]) mul(workers, row0 int, terms []Term[T]) {
	units := l.units(workers, terms)
	Parallel(workers, len(units), func(n int) {
		u := units[n]
		t := terms[u.term]
		s := getScratch[T]()
		defer putScratch(s)
		l.unit(s, t.C.View(row0+u.row, u.col, u.rows, u.cols), t, u)
	})
}

// units cuts all C into strips of columns, and those into rows where the
// strips are too few for the workers.
func (l *left[T]) units(workers int, terms []Term[T]) (list []unit) {
	mr, nr := shape[T](l.isa)
	total := 0
	for _, t := range terms {
		total += t.C.Cols
	}
	const perWorker = 4 // units, so that one that is slow does not hold up the rest
	width := max(min(roundUp(total/(perWorker*workers)+1, nr), unitCols), 2*nr)
	pieces := max(1, min(perWorker*workers*width/max(total, 1), l.rows/(4*mr)))
	if workers == 1 {
		width, pieces = unitCols, 1
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

// unit computes one unit c of a term.
func (l *left[T]) unit(s *scratch[T], c Mat[T], t Term[T], u unit) {
	if l.depth == 0 && !t.Add {
		clearMat(c)
	}
	_, nr := shape[T](l.isa)
	for k := 0; k < l.depth; k += blockDepth {
		kc := min(blockDepth, l.depth-k)
		bp := panels[T]{data: grow(&s.b, roundUp(u.cols, nr)*kc), stride: kc * nr}
		if t.B.pack != nil {
			t.B.pack(bp.data, l.from+k, u.col, kc, u.cols)
		} else {
			packCols(bp.data, nr, t.B.Block(grow(&s.a, kc*u.cols), l.from+k, u.col, kc, u.cols))
		}
		step[T]{l.isa, s, t.Add || l.from+k > 0}.mulPacked(c, l.block(u.row, u.rows, k, kc), kc, bp)
	}
}

// Parallel calls f(0) … f(n-1) on up to workers goroutines, in any order.
func Parallel(workers, n int, f func(i int)) {
	if workers = min(workers, n); workers <= 1 {
		for i := range n {
			f(i)
		}
		return
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				f(i)
			}
		})
	}
	wg.Wait()
}
