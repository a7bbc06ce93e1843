package linalg

import (
	"sync"
	"sync/atomic"
)

// A Source is a float32 matrix that is read block by block, such as one that
// lies in files and is larger than memory. Block may be called by several
// goroutines at once.
type Source interface {
	Dims() (rows, cols int)
	// Block returns rows [row, row+rows) of columns [col, col+cols). The result
	// may use buf, which it grows, and is valid until buf is used again.
	Block(buf *[]float32, row, rows, col, cols int) (Mat[float32], error)
}

// InMemory is a Source that is a matrix.
type InMemory Mat[float32]

// Dims returns the numbers of rows and columns.
func (m InMemory) Dims() (rows, cols int) { return m.Rows, m.Cols }

// Block returns a view.
func (m InMemory) Block(_ *[]float32, row, rows, col, cols int) (Mat[float32], error) {
	return Mat[float32](m).View(row, col, rows, cols), nil
}

// Sizes of the blocks that products read from a source: one step of the inner
// dimension of Gemm by enough rows or columns to use its blocks, so that two of
// 2 MB stay in the second- or third-level cache.
const (
	sourceDepth = blockDepth
	sourceWidth = blockCols
)

// LeftMul computes Z ← Q·X for the source X, with Q k×rows and Z k×cols.
// Workers split the columns of Z; see [Gemm] for the arithmetic.
func LeftMul(workers int, z, q Mat[float32], x Source) error {
	rows, cols := x.Dims()
	return Split(workers, cols, sourceWidth, func(buf *[]float32, col, n int) error {
		for row := 0; row < rows; row += sourceDepth {
			k := min(sourceDepth, rows-row)
			b, err := x.Block(buf, row, k, col, n)
			if err != nil {
				return err
			}
			Gemm(z.View(0, col, z.Rows, n), q.View(0, row, q.Rows, k), b, row > 0)
		}
		return nil
	})
}

// LeftMulT computes Y ← P·Xᵀ for the source X, with P k×cols and Y k×rows.
// Workers split the columns of Y.
func LeftMulT(workers int, y, p Mat[float32], x Source) error {
	rows, cols := x.Dims()
	return Split(workers, rows, sourceDepth, func(buf *[]float32, row, n int) error {
		for col := 0; col < cols; col += sourceWidth {
			k := min(sourceWidth, cols-col)
			b, err := x.Block(buf, row, n, col, k)
			if err != nil {
				return err
			}
			Gemm(y.View(0, row, y.Rows, n), p.View(0, col, p.Rows, k), b.T(), col > 0)
		}
		return nil
	})
}

// Split calls do for consecutive parts of n items, unit at a time, on up to
// workers goroutines, each with a buffer of its own. It returns an error of the
// first part that failed.
func Split(workers, n, unit int, do func(buf *[]float32, first, n int) error) error {
	parts := (n + unit - 1) / unit
	errs := make([]error, parts)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range max(1, min(workers, parts)) {
		wg.Go(func() {
			var buf []float32
			for {
				i := int(next.Add(1)) - 1
				if i >= parts {
					return
				}
				errs[i] = do(&buf, i*unit, min(unit, n-i*unit))
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
