package linalg

import (
	"fmt"
	"runtime"
	"testing"
)

// Products must give the bits of Gemm for every implementation, number of
// workers and shape.
func TestProducts(t *testing.T) { onAll(t, testProducts[float32], testProducts[float64]) }

func testProducts[T Float](t *testing.T, i isa) {
	for _, m := range []struct{ rows, depth int }{{0, 3}, {1, 1}, {5, 0}, {13, 17}, {70, 600}, {150, 33}, {4, 70}, {28, 1300}} {
		a := random[T](m.rows, m.depth, 1)
		var factors, want []Mat[T]
		for n, cols := range []int{1, 16, 48, 700, 96, 64, 320} {
			b := random[T](m.depth, cols, uint64(n))
			if n%2 == 1 {
				b = random[T](cols, m.depth, uint64(n)).T()
			}
			c := random[T](m.rows, cols, 9)
			gemm(i, c, a, b, n >= 2)
			factors, want = append(factors, b), append(want, c)
		}
		for _, workers := range []int{1, 2, 5} {
			var terms []Term[T]
			for n, b := range factors {
				terms = append(terms, Term[T]{C: random[T](m.rows, b.Cols, 9), B: FactorOf(b), Add: n >= 2})
			}
			l := newLeft(i, workers, FactorOf(a))
			l.Products(terms...)
			l.Close()
			for n, w := range want {
				sameBits(t, fmt.Sprintf("%d×%d, term %d, %d workers", m.rows, m.depth, n, workers), terms[n].C.Data, w.Data)
			}
		}
	}
}

// A left-hand factor too large to be packed at once is cut into rows and
// columns.
func TestProductsCut(t *testing.T) {
	const rows, depth = maxLeft/maxDepth + 50, maxDepth + 100
	a, b := random[float32](rows, 1, 1), random[float32](depth, 3, 2)
	a.Cols, a.ColStride = depth, 0
	got, want := Dense(make([]float32, 3*rows), rows, 3), Dense(make([]float32, 3*rows), rows, 3)
	u, v := random[float32](rows, 2, 3), random[float32](2, 3, 4)
	Products(2, a, Term[float32]{C: got, B: FactorOf(b), U: u, V: v})
	ParallelGemm(2, want, a, b, false)
	ParallelGemm(2, want, u, v, true)
	sameBits(t, "cut", got.Data, want.Data)

	ParallelGemm(2, want, a, b, false)
	NewLeft(2, a, Short[float32]{got, b, 1}).Close()
	sameBits(t, "cut, short", got.Data, want.Data)
}

// An update of low rank in a term must give the bits of a product of its own.
func TestProductsLow(t *testing.T) { onAll(t, testProductsLow[float32], testProductsLow[float64]) }

func testProductsLow[T Float](t *testing.T, i isa) {
	for _, m := range []struct{ rows, depth, cols, rank int }{{1, 0, 1, 1}, {13, 17, 33, 4}, {150, 700, 300, 16}, {61, 2, 96, 700}} {
		a, b := random[T](m.rows, m.depth, 1), random[T](m.depth, m.cols, 2)
		u, v := random[T](m.rows, m.rank, 3), random[T](m.rank, m.cols, 4)
		for _, add := range []bool{false, true} {
			want := random[T](m.rows, m.cols, 9)
			gemm(i, want, a, b, add)
			gemm(i, want, u, v, true)
			for _, workers := range []int{1, 3} {
				got := random[T](m.rows, m.cols, 9)
				l := newLeft(i, workers, FactorOf(a))
				l.Products(Term[T]{C: got, B: FactorOf(b), Add: add, U: u, V: v})
				l.Close()
				sameBits(t, fmt.Sprintf("%v, %d workers", m, workers), got.Data, want.Data)
			}
		}
	}
}

// A product of few columns that is computed in packing must give the bits of
// one of its own.
func TestShort(t *testing.T) { onAll(t, testShort[float32], testShort[float64]) }

func testShort[T Float](t *testing.T, i isa) {
	for _, m := range []struct{ rows, depth, cols int }{{1, 0, 1}, {1, 1, 1}, {13, 17, 3}, {150, 700, 16}, {61, 1300, 40}} {
		a, b := random[T](m.rows, m.depth, 1), random[T](m.cols, m.depth, 2).T()
		want := random[T](m.rows, m.cols, 9)
		gemm(i, want, a, b, false)
		for n := range want.Data {
			want.Data[n] *= 0.3
		}
		for _, workers := range []int{1, 3} {
			got := random[T](m.rows, m.cols, 9)
			newLeft(i, workers, FactorOf(a), Short[T]{got, b, 0.3}).Close()
			sameBits(t, fmt.Sprintf("%v, %d workers", m, workers), got.Data, want.Data)
		}
	}
}

// BenchmarkProducts is the first half of a layer of a 135M decoder: q, k, v
// and their A at 1024 tokens.
func BenchmarkProducts(b *testing.B) {
	a := random[float32](1024, 576, 1)
	var terms []Term[float32]
	flops := 0
	for _, n := range []int{576, 192, 192, 16, 16, 16} {
		terms = append(terms, Term[float32]{C: Dense(make([]float32, 1024*n), 1024, n), B: FactorOf(random[float32](n, 576, 2).T())})
		flops += 2 * 1024 * 576 * n
	}
	for b.Loop() {
		Products(runtime.GOMAXPROCS(0), a, terms...)
	}
	b.ReportMetric(float64(flops)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
}

// BenchmarkProductsShort is the gradient of a factor of rank 16 at 1024 tokens.
func BenchmarkProductsShort(b *testing.B) {
	const rank, rows = 16, 1024
	u := random[float32](rows, rank, 1)
	for _, n := range []int{576, 1536} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			x, c := random[float32](rows, n, 2), random[float32](rank, n, 3)
			for b.Loop() {
				Products(runtime.GOMAXPROCS(0), u.T(), Term[float32]{C: c, B: FactorOf(x), Add: true})
			}
			gflops(b, rank, n, rows)
		})
	}
}
