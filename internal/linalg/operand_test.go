package linalg

import (
	"fmt"
	"testing"
)

// transposed returns m with the elements of a column one behind the other,
// which no kernel reads without packing.
func transposed(m Mat[float32]) Mat[float32] {
	t := Dense(make([]float32, m.Rows*m.Cols), m.Cols, m.Rows).T()
	for i := range m.Rows {
		for j := range m.Cols {
			t.Data[j*m.Rows+i] = m.Data[i*m.RowStride+j*m.ColStride]
		}
	}
	return t
}

// A left-hand factor must give the same bits as it lies as packed, whatever the
// distance of its rows.
func TestRowsAsTheyLie(t *testing.T) {
	i := best()
	for _, m := range []struct{ rows, depth, cols, gap int }{
		{33, 1, 32, 0}, {40, 3, 16, 5}, {35, 4, 33, 1}, {61, 7, 80, 0}, {45, 600, 100, 3}, {34, maxDepth + 5, 48, 0},
		{50, 1000, 64, 24}, {50, 1000, 64, 25}, {13, 30, 65, 0},
	} {
		a := random[float32](m.rows, m.depth+m.gap, 1).View(0, m.gap/2, m.rows, m.depth)
		packed := transposed(a)
		if lies(i, packed) || lies(i, a) != (i.readsRows() && a.RowStride%1024 > 0) {
			t.Errorf("%v: lies %v, transposed %v", m, lies(i, a), lies(i, packed))
		}
		b, short := random[float32](m.depth, m.cols, 2), random[float32](m.depth, 16, 3)
		for _, add := range []bool{false, true} {
			name := fmt.Sprintf("%v, add %v", m, add)
			want, got := random[float32](m.rows, m.cols, 9), random[float32](m.rows, m.cols, 9)
			gemm(i, want, packed, b, add)
			gemm(i, got, a, b, add)
			sameBits(t, name, got.Data, want.Data)
			for _, workers := range []int{1, 3} {
				got, u, v := random[float32](m.rows, m.cols, 9), random[float32](m.rows, 16, 9), random[float32](m.rows, 16, 9)
				l := NewLeft(workers, a, Short[float32]{u, short, 0.5})
				l.Products(Term[float32]{C: got, B: FactorOf(b), Add: add})
				l.Close()
				sameBits(t, name+", products", got.Data, want.Data)
				NewLeft(workers, packed, Short[float32]{v, short, 0.5}).Close()
				sameBits(t, name+", short", u.Data, v.Data)
			}
		}
	}
}
