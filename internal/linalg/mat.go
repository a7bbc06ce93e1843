// Package linalg holds dense linear algebra on slices: matrix products and
// the vector passes that package merge needs. It knows no files and no names.
//
// Results are the same bits on every processor and for every number of
// workers. Each element of a product is one chain of fused multiply-adds, in
// ascending order of the inner index, in the precision of the operands; see
// [Gemm]. The implementations (AVX-512, AVX2, plain Go) differ in speed only.
// The one exception is a NaN: where one appears is the same everywhere, its
// sign and payload are not.
package linalg

import "fmt"

// A Float is one of the two working precisions.
type Float interface{ ~float32 | ~float64 }

// A Mat is a strided view of a matrix: element (i, j) is
// Data[i*RowStride+j*ColStride]. Strides count elements and are not negative.
// Copying a Mat copies the view, not the elements.
type Mat[T Float] struct {
	Data                 []T
	Rows, Cols           int
	RowStride, ColStride int
}

// Dense returns data as a rows×cols matrix in row-major order.
func Dense[T Float](data []T, rows, cols int) Mat[T] {
	return Mat[T]{Data: data, Rows: rows, Cols: cols, RowStride: cols, ColStride: 1}
}

// T returns the transpose of m, on the same elements.
func (m Mat[T]) T() Mat[T] {
	return Mat[T]{m.Data, m.Cols, m.Rows, m.ColStride, m.RowStride}
}

// View returns the rows×cols part of m whose first element is m's (i, j), on
// the same elements. It panics if the part is not inside m.
func (m Mat[T]) View(i, j, rows, cols int) Mat[T] {
	if i < 0 || j < 0 || rows < 0 || cols < 0 || i > m.Rows-rows || j > m.Cols-cols {
		panic(fmt.Sprintf("linalg: view %d×%d at (%d, %d) of a %d×%d matrix", rows, cols, i, j, m.Rows, m.Cols))
	}
	v := Mat[T]{nil, rows, cols, m.RowStride, m.ColStride}
	if rows > 0 && cols > 0 {
		v.Data = m.Data[i*m.RowStride+j*m.ColStride:]
	}
	return v
}

// check panics unless every element of m lies in m.Data. The assembly trusts
// it.
func (m Mat[T]) check() {
	if m.Rows < 0 || m.Cols < 0 || m.RowStride < 0 || m.ColStride < 0 {
		panic(fmt.Sprintf("linalg: matrix %d×%d with strides %d, %d", m.Rows, m.Cols, m.RowStride, m.ColStride))
	}
	if m.Rows == 0 || m.Cols == 0 {
		return
	}
	if last := (m.Rows-1)*m.RowStride + (m.Cols-1)*m.ColStride; last >= len(m.Data) {
		panic(fmt.Sprintf("linalg: matrix %d×%d with strides %d, %d in %d elements",
			m.Rows, m.Cols, m.RowStride, m.ColStride, len(m.Data)))
	}
}

// checkOutput panics unless m can be written row by row.
func (m Mat[T]) checkOutput() {
	m.check()
	if m.Cols > 1 && m.ColStride != 1 {
		panic(fmt.Sprintf("linalg: output with column stride %d", m.ColStride))
	}
	if m.Rows > 1 && m.RowStride < m.Cols {
		panic(fmt.Sprintf("linalg: output of %d columns with row stride %d", m.Cols, m.RowStride))
	}
}
