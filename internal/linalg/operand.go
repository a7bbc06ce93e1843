package linalg

// An operand is rows of a left-hand factor as the kernels read them: packed
// into panels of the heights of tiles, or as they lie.
type operand[T Float] struct {
	packed []T    // if not nil
	rows   Mat[T] // else; ColStride 1
}

// conflict is a distance of rows, in bytes, whose multiples put all of a tile's
// rows in the same few lines of the first-level cache, where they do not fit.
const conflict = 4096

// lies reports whether i's kernels read m as it lies as fast as packed. What
// packing takes is then saved.
func lies[T Float](i isa, m Mat[T]) bool {
	return i.readsRows() && narrow[T]() && m.ColStride == 1 && m.Cols > 0 && 4*m.RowStride%conflict > 0
}

// from returns up to n rows from row r on, of k columns. In panels, r is the
// first row of a tile, and n rows are those of whole tiles.
func (a operand[T]) from(r, n, k int) operand[T] {
	if a.packed != nil {
		return operand[T]{packed: a.packed[r*k:][:n*k]}
	}
	return operand[T]{rows: a.rows.View(r, 0, min(n, a.rows.Rows-r), k)}
}

// panel returns a tile of h rows packed, in buf if it was not.
func (a operand[T]) panel(buf *[]T, h int) []T {
	if a.packed != nil {
		return a.packed
	}
	p := grow(buf, h*a.rows.Cols)
	packPanel(p, a.rows, h)
	return p
}

// mul computes count tiles of h rows, all of which there are.
func (a operand[T]) mul(i isa, h, k int, b, c *T, ldc, count, stride int, accumulate bool) {
	if a.packed != nil {
		tiles(i, h, k, &a.packed[0], b, c, ldc, count, stride, accumulate)
		return
	}
	rows32(h, k, pointer32(&a.rows.Data[0]), a.rows.RowStride, pointer32(b), pointer32(c), ldc, count, stride, accumulate)
}

// mulNarrow computes the first half of the columns of a tile where i has a
// kernel for that, such as for products with the 16 rows of a low-rank factor.
func (a operand[T]) mulNarrow(i isa, h, k int, b, c *T, ldc int, accumulate bool) (done bool) {
	switch {
	case !narrow[T]():
		return false
	case a.packed != nil:
		return narrow32(i, h, k, pointer32(&a.packed[0]), pointer32(b), pointer32(c), ldc, accumulate)
	}
	return narrowRows32(h, k, pointer32(&a.rows.Data[0]), a.rows.RowStride, pointer32(b), pointer32(c), ldc, accumulate)
}
