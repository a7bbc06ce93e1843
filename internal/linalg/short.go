package linalg

// A Short is a product of few columns, such as the lower half of an update of
// low rank, that is computed before the others of its left-hand factor A, strip
// by strip: C ← Scale·(A·B).
type Short[T Float] struct {
	C, B  Mat[T]
	Scale T
}

func (s Short[T]) term() Term[T] { return Term[T]{C: s.C, B: FactorOf(s.B)} }

// scale multiplies rows of C.
func (s Short[T]) scale(c Mat[T]) {
	for r := range c.Rows {
		row := c.Data[r*c.RowStride:][:c.Cols]
		for j := range row {
			row[j] *= s.Scale
		}
	}
}

// A short is a Short with B packed: for each block of blockDepth rows all
// panels of columns.
type short[T Float] struct {
	Short[T]
	panels []T
}

func packShorts[T Float](i isa, shorts []Short[T]) (list []short[T]) {
	_, nr := shape[T](i)
	for _, s := range shorts {
		width := roundUp(s.B.Cols, nr)
		w := short[T]{s, make([]T, width*s.B.Rows)}
		for k := 0; k < s.B.Rows; k += blockDepth {
			kc := min(blockDepth, s.B.Rows-k)
			packCols(w.panels[width*k:], nr, s.B.View(k, 0, kc, s.B.Cols))
		}
		list = append(list, w)
	}
	return list
}

// compute computes rows of C, a strip of the whole factor p.
func (w short[T]) compute(s *scratch[T], p *left[T], row, rows int) {
	c := w.C.View(row, 0, rows, w.C.Cols)
	if p.depth == 0 {
		clearMat(c)
	}
	_, nr := shape[T](p.isa)
	for k := 0; k < p.depth; k += blockDepth {
		kc := min(blockDepth, p.depth-k)
		b := panels[T]{data: w.panels[roundUp(w.B.Cols, nr)*k:], stride: kc * nr}
		step[T]{p.isa, s, k > 0}.mulTiles(c, p.block(row, rows, k, kc), kc, b)
	}
	w.scale(c)
}
