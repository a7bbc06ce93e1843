package linalg

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// sizes covers empty, single, odd, whole tiles, tall, wide, and more than one
// block in each direction. (A block of A is 144×512, one of B 512×1024.)
var sizes = []struct{ m, n, k int }{
	{0, 0, 0}, {0, 3, 2}, {3, 0, 2}, {3, 2, 0}, {1, 1, 1}, {1, 1, 7}, {1, 33, 2}, {33, 1, 2}, {2, 3, 4}, {3, 5, 7},
	{4, 8, 1}, {5, 9, 3}, {6, 16, 4}, {7, 17, 5}, {8, 31, 16}, {11, 32, 8}, {12, 32, 16}, {13, 33, 17}, {24, 64, 64},
	{25, 65, 63}, {64, 100, 16}, {150, 7, 3}, {2, 300, 5}, {3, 4, 257}, {13, 40, 600}, {145, 33, 9},
	{3, 1100, 3}, {24, 16, 600}, {30, 48, 20},
}

// layouts are ways to store a rows×cols matrix.
var layouts = []struct {
	name string
	make func(rows, cols int) (elements, rowStride, colStride int)
}{
	{"dense", func(r, c int) (int, int, int) { return r * c, c, 1 }},
	{"transposed", func(r, c int) (int, int, int) { return r * c, 1, r }},
	{"padded", func(r, c int) (int, int, int) { return r * (c + 3), c + 3, 1 }},
	{"expert", func(r, c int) (int, int, int) { return 3 * r * c, 3 * c, 3 }},
	{"expert transposed", func(r, c int) (int, int, int) { return 3 * r * c, 3, 3 * r }},
}

func layOut[T Float](layout int, rows, cols int, seed uint64) Mat[T] {
	n, rs, cs := layouts[layout].make(rows, cols)
	return Mat[T]{random[T](1, n, seed).Data, rows, cols, rs, cs}
}

func (m Mat[T]) at(i, j int) T { return m.Data[i*m.RowStride+j*m.ColStride] }

// reference is Gemm as its comment defines it.
func reference[T Float](c, a, b Mat[T], accumulate bool) {
	for i := range c.Rows {
		for j := range c.Cols {
			var acc T
			if accumulate {
				acc = c.at(i, j)
			}
			for k := range a.Cols {
				acc = fma(a.at(i, k), b.at(k, j), acc)
			}
			c.Data[i*c.RowStride+j*c.ColStride] = acc
		}
	}
}

// output returns a matrix with random contents and random padding after each
// row, and a copy of it.
func output[T Float](rows, cols int) (c, copied Mat[T]) {
	c = Mat[T]{random[T](1, rows*(cols+5), 9).Data, rows, cols, cols + 5, 1}
	copied = c
	copied.Data = append([]T(nil), c.Data...)
	return c, copied
}

// sameBits fails the test unless got and want have the same bits, padding
// included; NaN equals NaN.
func sameBits[T Float](t *testing.T, name string, got, want []T) {
	t.Helper()
	for i := range want {
		if different(got[i], want[i]) && (got[i] == got[i] || want[i] == want[i]) {
			t.Fatalf("%s: element %d is %x, want %x", name, i, float64(got[i]), float64(want[i]))
		}
	}
}

// onAll runs a test for each implementation and type.
func onAll(t *testing.T, f32, f64 func(t *testing.T, i isa)) {
	for _, i := range available() {
		t.Run(i.String()+"/float32", func(t *testing.T) { f32(t, i) })
		t.Run(i.String()+"/float64", func(t *testing.T) { f64(t, i) })
	}
}

func TestGemm(t *testing.T) { onAll(t, testGemm[float32], testGemm[float64]) }

func testGemm[T Float](t *testing.T, i isa) {
	for _, s := range sizes {
		for la := range layouts {
			for lb := range layouts {
				if large := s.m*s.n*s.k > 20000; la != lb && (large || la != 0 && lb != 0) {
					continue
				}
				a, b := layOut[T](la, s.m, s.k, 1), layOut[T](lb, s.k, s.n, 2)
				for _, accumulate := range []bool{false, true} {
					name := fmt.Sprintf("%v %s %s %v", s, layouts[la].name, layouts[lb].name, accumulate)
					got, want := output[T](s.m, s.n)
					gemm(i, got, a, b, accumulate)
					reference(want, a, b, accumulate)
					sameBits(t, name, got.Data, want.Data)
				}
			}
		}
	}
}

// TestGemmRandomSizes draws sizes with a fixed seed.
func TestGemmRandomSizes(t *testing.T) {
	onAll(t, testGemmRandomSizes[float32], testGemmRandomSizes[float64])
}

func testGemmRandomSizes[T Float](t *testing.T, i isa) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 100 {
		m, n, k := r.IntN(50), r.IntN(120), r.IntN(40)
		a, b := layOut[T](r.IntN(len(layouts)), m, k, 1), layOut[T](r.IntN(len(layouts)), k, n, 2)
		got, want := output[T](m, n)
		accumulate := r.IntN(2) == 0
		gemm(i, got, a, b, accumulate)
		reference(want, a, b, accumulate)
		sameBits(t, fmt.Sprint(m, n, k, accumulate), got.Data, want.Data)
	}
}

// TestGemmBound compares with sums in float64, or for float64 with
// compensated ones, within the bound of a chain of k fused operations:
// k·u·Σ|a||b|, u = 2^-24 or 2^-53 (Higham 2002, section 3.1, to first order).
func TestGemmBound(t *testing.T) { onAll(t, testGemmBound[float32], testGemmBound[float64]) }

func testGemmBound[T Float](t *testing.T, i isa) {
	u := 0x1p-53
	if narrow[T]() {
		u = 0x1p-24
	}
	a, b := random[T](37, 300, 1), random[T](300, 70, 2)
	c, _ := output[T](37, 70)
	gemm(i, c, a, b, false)
	for r := range c.Rows {
		for j := range c.Cols {
			sum, rest, size := 0.0, 0.0, 0.0
			for k := range a.Cols {
				x, y := float64(a.at(r, k)), float64(b.at(k, j))
				p := float64(x * y)
				s := sum + p
				v := s - sum
				rest += (sum - (s - v)) + (p - v) + math.FMA(x, y, -p)
				sum, size = s, size+math.Abs(p)
			}
			if d := math.Abs(float64(c.at(r, j)) - (sum + rest)); d > 1.01*300*u*size {
				t.Fatalf("element (%d, %d) is off by %g, bound %g", r, j, d, 300*u*size)
			}
		}
	}
}

// TestGemmSpecial puts special values everywhere.
func TestGemmSpecial(t *testing.T) { onAll(t, testGemmSpecial[float32], testGemmSpecial[float64]) }

func testGemmSpecial[T Float](t *testing.T, i isa) {
	values := []T{0, T(math.Copysign(0, -1)), 1, -1, T(math.Inf(1)), T(math.Inf(-1)), T(math.NaN()), 3, 0x1p-100}
	if narrow[T]() {
		tiny, huge := float32(0x1p-149), float32(math.MaxFloat32)
		values = append(values, T(tiny), T(-3*tiny), T(huge), T(-huge), 0x1p-126, 0x1.000002p-24)
	} else {
		tiny, huge := 0x1p-1074, math.MaxFloat64
		values = append(values, T(tiny), T(-3*tiny), T(huge), T(-huge), T(math.Ldexp(1, -1022)), T(math.Ldexp(1, -53)))
	}
	a, b := random[T](29, 6, 1), random[T](6, 75, 2)
	for n := range a.Data {
		a.Data[n] = values[(n*n+3*n)%len(values)]
	}
	for n := range b.Data {
		b.Data[n] = values[(n*7+n/5)%len(values)]
	}
	for _, accumulate := range []bool{false, true} {
		got, want := output[T](29, 75)
		got.Data[0], want.Data[0] = T(math.Copysign(0, -1)), T(math.Copysign(0, -1))
		gemm(i, got, a, b, accumulate)
		reference(want, a, b, accumulate)
		sameBits(t, "special", got.Data, want.Data)
	}
}

func TestParallelGemm(t *testing.T) { onAll(t, testParallelGemm[float32], testParallelGemm[float64]) }

func testParallelGemm[T Float](t *testing.T, i isa) {
	for _, s := range append(sizes, struct{ m, n, k int }{90, 170, 20}, struct{ m, n, k int }{170, 90, 20}) {
		a, b := random[T](s.m, s.k, 1), random[T](s.k, s.n, 2)
		for _, workers := range []int{-1, 0, 1, 2, 7} {
			got, want := output[T](s.m, s.n)
			parallelGemm(i, workers, got, a, b, true)
			reference(want, a, b, true)
			sameBits(t, fmt.Sprint(s, workers), got.Data, want.Data)
		}
	}
}

func TestGemmPanics(t *testing.T) {
	m := func(r, c int) Mat[float32] { return random[float32](r, c, 1) }
	short := m(3, 3)
	short.Data = short.Data[:8]
	tests := []struct {
		name    string
		c, a, b Mat[float32]
	}{
		{"rows", m(3, 3), m(2, 3), m(3, 3)},
		{"cols", m(3, 3), m(3, 3), m(3, 2)},
		{"inner", m(3, 3), m(3, 2), m(3, 3)},
		{"short output", short, m(3, 3), m(3, 3)},
		{"short a", m(3, 3), short, m(3, 3)},
		{"short b", m(3, 3), m(3, 3), short},
		{"negative", m(3, 3), m(3, 3), Mat[float32]{m(3, 3).Data, 3, 3, -3, 1}},
		{"transposed output", m(3, 3).T(), m(3, 3), m(3, 3)},
		{"overlapping output", Mat[float32]{m(3, 3).Data, 3, 3, 2, 1}, m(3, 3), m(3, 3)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			Gemm(tt.c, tt.a, tt.b, false)
		})
	}
}
