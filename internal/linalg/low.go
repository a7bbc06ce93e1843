package linalg

// A low is an update of low rank, packed for the rows and columns of a unit.
type low[T Float] struct {
	step   step[T]
	rank   int
	left   operand[T]
	panels panels[T]
}

// low packs U and V of a term; nil if there are none.
func (l *left[T]) low(t Term[T]) *low[T] {
	if t.U.Cols == 0 {
		return nil
	}
	i := l.isa.unrounded()
	mr, nr := shape[T](i)
	s, rank := getScratch[T](), t.U.Cols
	w := &low[T]{step[T]{i, s, true}, rank, operand[T]{rows: t.U}, panels[T]{data: grow(&s.b, roundUp(t.V.Cols, nr)*rank), stride: rank * nr}}
	if !lies(i, t.U) {
		w.left.packed = grow(&s.a, roundUp(t.U.Rows, mr)*rank)
		packRows(w.left.packed, i, t.U)
	}
	packCols(w.panels.data, nr, t.V)
	return w
}

// add adds the update to rows of the unit from row r on, the first of a tile.
func (w *low[T]) add(c Mat[T], r, rows int) {
	if w == nil {
		return
	}
	mr, _ := shape[T](w.step.isa)
	w.step.mulTiles(c.View(r, 0, rows, c.Cols), w.left.from(r, roundUp(rows, mr), w.rank), w.rank, w.panels)
}

// close gives the memory back.
func (w *low[T]) close() {
	if w != nil {
		putScratch(w.step.scratch)
	}
}
