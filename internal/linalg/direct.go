package linalg

// A product with few rows, such as the gradient of a low-rank factor, uses each
// element of B a few times only; to pack B would take as long as to multiply.

const (
	directRows  = 32 // the most rows of a product that reads B where it lies
	directDepth = 96 // rows of B that are read for all tiles of a unit, to be in the cache for the next ones
)

// direct computes unit c of a term with B as it lies, if it can.
func (l *left[T]) direct(c Mat[T], t Term[T], u unit) (done bool) {
	_, nr := shape[T](l.isa)
	b := t.B.mat
	if !narrow[T]() || !l.isa.hasDirect() || l.rows > directRows || l.rows%4 != 0 || u.cols%nr != 0 || b.ColStride != 1 || t.U.Cols > 0 || l.depth == 0 || l.data == nil {
		return false
	}
	b = b.View(l.from, u.col, l.depth, u.cols)
	for k := 0; k < l.depth; {
		block := k / blockDepth * blockDepth
		kc := min(blockDepth, l.depth-block)
		n := min(directDepth, block+kc-k)
		for r := 0; r < u.rows; {
			h := l.isa.tileRows(u.rows - r)
			a := l.block(u.row+r, h, block, kc).packed[(k-block)*h:][:n*h]
			direct32(h, n, &asFloat32(a)[0], &asFloat32(b.Data[k*b.RowStride:][:(n-1)*b.RowStride+u.cols])[0],
				&asFloat32(c.Data[r*c.RowStride:][:(h-1)*c.RowStride+u.cols])[0], b.RowStride, c.RowStride, u.cols/nr, t.Add || l.from+k > 0)
			r += h
		}
		k += n
	}
	return true
}
