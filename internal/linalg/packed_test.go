package linalg

import (
	"fmt"
	"sync"
	"testing"
)

func TestPacked(t *testing.T) { onAll(t, testPacked[float32], testPacked[float64]) }

// testPacked multiplies with every window of columns of small matrices, with
// one Packed for all so that memory is reused.
func testPacked[T Float](t *testing.T, i isa) {
	var p Packed[T]
	for _, s := range sizes {
		for layout := range layouts {
			a, b := layOut[T](layout, s.m, s.k, 1), layOut[T](layout, s.k, s.n, 2)
			p.pack(i, b)
			for _, accumulate := range []bool{false, true} {
				before := random[T](s.m, s.n, 9)
				after := Dense(append([]T(nil), before.Data...), s.m, s.n)
				reference(after, a, b, accumulate)
				for n, w := range windows(s.n) {
					if n > 0 && layout > 0 {
						break // the layout is gone once packed
					}
					got, want := output[T](s.m, w[1])
					copyMat(got, before.View(0, w[0], s.m, w[1]))
					copyMat(want, after.View(0, w[0], s.m, w[1]))
					p.mul(got, a, 0, w[0], accumulate)
					sameBits(t, fmt.Sprint(s, layouts[layout].name, w, accumulate), got.Data, want.Data)
				}
			}
		}
	}
}

// Rows of B from any on are the product with that part of it.
func TestPackedRows(t *testing.T) {
	a, b := random[float32](13, 600, 1), random[float32](600, 50, 2)
	var p Packed[float32]
	p.Pack(b)
	for _, r := range [][2]int{{0, 600}, {0, 64}, {64, 300}, {599, 1}, {600, 0}} {
		got, want := output[float32](13, 50)
		part := a.View(0, r[0], 13, r[1])
		p.MulRows(got, part, r[0])
		reference(want, part, b.View(r[0], 0, r[1], 50), false)
		sameBits(t, fmt.Sprint(r), got.Data, want.Data)
	}
}

func copyMat[T Float](dst, src Mat[T]) {
	for r := 0; r < dst.Rows && dst.Cols > 0; r++ {
		copy(dst.Data[r*dst.RowStride:][:dst.Cols], src.Data[r*src.RowStride:])
	}
}

// windows returns pairs of first column and number of columns out of n.
func windows(n int) [][2]int {
	w := [][2]int{{0, n}, {0, 0}, {n, 0}}
	for _, col := range []int{1, 7, 16, 31, 32, 33} {
		if col < n {
			w = append(w, [2]int{col, n - col}, [2]int{col, 1}, [2]int{0, col}, [2]int{col, min(32, n-col)})
		}
	}
	return w
}

func TestPackedConcurrent(t *testing.T) {
	a, b := random[float32](20, 30, 1), random[float32](30, 100, 2)
	var p Packed[float32]
	p.Pack(b)
	_, want := output[float32](20, 100)
	reference(want, a, b, false)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				got, _ := output[float32](20, 100)
				p.Mul(got, a, 0)
				sameBits(t, "concurrent", got.Data, want.Data)
			}
		})
	}
	wg.Wait()
}

func TestPackedDoesNotAllocate(t *testing.T) {
	a, b, c := random[float32](20, 30, 1), random[float32](30, 100, 2), random[float32](20, 90, 3)
	var p Packed[float32]
	p.Pack(b)
	p.Mul(c, a, 3)
	if n := testing.AllocsPerRun(100, func() { p.Pack(b); p.Mul(c, a, 3) }); n >= 1 {
		t.Errorf("%v allocations in Pack and Mul", n)
	}
}

func TestPackedPanics(t *testing.T) {
	var p Packed[float32]
	p.Pack(random[float32](3, 10, 1))
	for _, tt := range []struct {
		name string
		c, a Mat[float32]
		col0 int
	}{
		{"negative column", random[float32](2, 2, 1), random[float32](2, 3, 1), -1},
		{"too many columns", random[float32](2, 2, 1), random[float32](2, 3, 1), 9},
		{"rows", random[float32](2, 2, 1), random[float32](3, 3, 1), 0},
		{"inner", random[float32](2, 2, 1), random[float32](2, 4, 1), 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			p.Mul(tt.c, tt.a, tt.col0)
		})
	}
}
