package cpu

import (
	"math"
	"testing"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/train/internal/backend"
)

// product64 returns op(A)·op(B) + c.
func product64(a []float64, m, k int, ta bool, b []float64, n int, tb bool, c []float64) []float64 {
	out := make([]float64, m*n)
	copy(out, c)
	for i := range m {
		for j := range n {
			for l := range k {
				x, y := i*k+l, l*n+j
				if ta {
					x = l*m + i
				}
				if tb {
					y = j*k + l
				}
				out[i*n+j] += a[x] * b[y]
			}
		}
	}
	return out
}

// Products with both factors in every dtype that a base may have, transposed
// or not, added or not, on views.
func TestGemm(t *testing.T) {
	testGemm(t, 13, 29)
	testGemm(t, 1, 29)
	testGemm(t, 1, 3*sumCols-5)
}

func testGemm(t *testing.T, m, n int) {
	const k = 37
	for _, d := range []dtype.DType{dtype.F32, dtype.BF16, dtype.F16} {
		for _, ta := range []bool{false, true} {
			for _, tb := range []bool{false, true} {
				b := newBed(t)
				shape := func(rows, cols int, transposed bool) (backend.Mat, []float64) {
					if transposed {
						rows, cols = cols, rows
					}
					v, _ := b.mat(rows, cols)
					return b.frozen(v, d)
				}
				x, x64 := shape(m, k, ta)
				y, y64 := shape(k, n, tb)
				wide, _ := b.mat(m, n+5)
				c := wide.View(0, 3, m, n)
				start := make([]float32, m*n)
				b.b.Read(start, c)
				c64 := make([]float64, m*n)
				for i, v := range start {
					c64[i] = float64(v)
				}
				fresh := b.zeros(m, n)
				b.b.Gemm(x, ta, backend.Product{C: c, B: y, TB: tb, Add: true}, backend.Product{C: fresh, B: y, TB: tb})
				b.near("C + A·B", c, product64(x64, m, k, ta, y64, n, tb, c64), tolerance)
				b.near("A·B", fresh, product64(x64, m, k, ta, y64, n, tb, nil), tolerance)
			}
		}
	}
}

// Beside frozen BF16 weights the other factor is rounded to BF16, unless the
// backend is exact; beside float32 ones of the same call it is not.
func TestGemmRounded(t *testing.T) {
	const m, k, n = 13, 37, 29
	for _, exact := range []bool{false, true} {
		for _, tb := range []bool{false, true} {
			b := newBed(t)
			b.b.SetExact(exact)
			x, x64 := b.mat(m, k)
			y, y64 := b.mat(k, n)
			if tb {
				y, y64 = b.mat(n, k)
			}
			w, w64 := b.frozen(y, dtype.BF16)
			_, rounded := b.frozen(x, dtype.BF16)
			want := product64(rounded, m, k, false, w64, n, tb, nil)
			if exact {
				want = product64(x64, m, k, false, w64, n, tb, nil)
			}
			half, full := b.zeros(m, n), b.zeros(m, n)
			b.b.Gemm(x, false, backend.Product{C: half, B: w, TB: tb}, backend.Product{C: full, B: y, TB: tb})
			b.near("BF16", half, want, tolerance)
			b.near("F32", full, product64(x64, m, k, false, y64, n, tb, nil), tolerance)
		}
	}
}

// A low-rank update in a product is that of products of its own.
func TestGemmLow(t *testing.T) {
	const k, n, r = 37, 29, 3
	const scale = 0.5
	for _, m := range []int{1, 13} {
		for _, d := range []dtype.DType{dtype.F32, dtype.BF16, dtype.F16} {
			b := newBed(t)
			b.b.SetExact(true)
			x, x64 := b.mat(m, k)
			v, _ := b.mat(k, n)
			w, w64 := b.frozen(v, d)
			a, a64 := b.mat(r, k)
			up, up64 := b.mat(r, n)
			c, u := b.zeros(m, n), b.zeros(m, r)
			b.b.Gemm(x, false, backend.Product{C: c, B: w, Low: &backend.Low{U: u, A: a, V: up, Scale: scale}})
			u64 := product64(x64, m, k, false, a64, r, true, nil)
			for i := range u64 {
				u64[i] *= scale
			}
			b.near("U", u, u64, tolerance)
			b.near("C", c, product64(u64, m, r, false, up64, n, false, product64(x64, m, k, false, w64, n, false, nil)), tolerance)
		}
	}
}

func TestRows(t *testing.T) {
	b := newBed(t)
	x, x64 := b.mat(6, 9)
	y, y64 := b.mat(6, 9)
	s, s64 := b.mat(1, 9)
	sum, dots := b.clone(s), b.clone(s)
	wantSum, wantDots := append([]float64(nil), s64...), append([]float64(nil), s64...)
	added, scaled, biased := make([]float64, 54), make([]float64, 54), make([]float64, 54)
	for i := range x64 {
		wantSum[i%9] += x64[i]
		wantDots[i%9] += x64[i] * y64[i]
		added[i], scaled[i], biased[i] = y64[i]+0.5*x64[i], x64[i]*s64[i%9], x64[i]+s64[i%9]
	}
	b.b.BiasGrad(sum, x)
	b.near("BiasGrad", sum, wantSum, tolerance)
	b.b.ColDot(dots, x, y)
	b.near("ColDot", dots, wantDots, tolerance)
	z := b.zeros(6, 9)
	b.b.ScaleCols(z, x, s)
	b.near("ScaleCols", z, scaled, tolerance)
	b.b.Add(y, x, 0.5)
	b.near("Add", y, added, tolerance)
	b.b.AddBias(x, s)
	b.near("AddBias", x, biased, tolerance)
	total := 0.0
	for _, v := range s64 {
		total += v * v
	}
	if got := b.b.SumSq(s); math.Abs(got-total) > 1e-12*total {
		t.Errorf("SumSq %g, want %g", got, total)
	}
	b.b.Scale(z, 2)
	b.b.Divide(z, z, z)
	for i := range scaled {
		scaled[i] = 1
	}
	b.near("Scale and Divide", z, scaled, 0)
}

func TestGatherScatter(t *testing.T) {
	b := newBed(t)
	v, _ := b.mat(5, 3)
	table, table64 := b.frozen(v, dtype.BF16)
	ids := []int32{4, 0, 4, -1, 9}
	y, want := b.mat(5, 3)
	for i, id := range ids[:3] {
		copy(want[3*i:], table64[3*id:][:3])
	}
	b.b.Gather(y, table, ids)
	b.near("Gather", y, want, 0)
	grad, grad64 := b.mat(5, 3)
	for i, id := range ids[:3] {
		for j := range 3 {
			grad64[3*int(id)+j] += want[3*i+j]
		}
	}
	b.b.Scatter(grad, y, ids)
	b.near("Scatter", grad, grad64, tolerance)

	src, src64 := b.mat(2, 3)
	rows := []int32{-1, 1, -1, 0, 1}
	for i, id := range rows {
		if id >= 0 {
			copy(want[3*i:], src64[3*id:][:3])
		}
	}
	b.b.Overwrite(y, src, rows)
	b.near("Overwrite", y, want, 0)
	dsrc := b.zeros(2, 3)
	d := make([]float64, 6)
	for i, id := range rows {
		for j := range 3 {
			if id >= 0 {
				d[3*int(id)+j] += want[3*i+j]
				want[3*i+j] = 0
			}
		}
	}
	b.b.OverwriteGrad(dsrc, y, rows)
	b.near("OverwriteGrad", dsrc, d, tolerance)
	b.near("rows that were overwritten", y, want, 0)
}

func TestRowNorms(t *testing.T) {
	const in, out, r, s = 11, 7, 3, 0.75
	for _, transposed := range []bool{false, true} {
		b := newBed(t)
		w, w64 := b.mat(out, in)
		if transposed {
			w, w64 = b.mat(in, out)
		}
		a, a64 := b.mat(r, in)
		bt, bt64 := b.mat(r, out)
		wa, aa, norm := b.zeros(out, r), b.zeros(r, r), b.zeros(1, out)
		b.b.Gemm(w, transposed, backend.Product{C: wa, B: a, TB: true})
		b.b.Gemm(a, false, backend.Product{C: aa, B: a, TB: true})
		b.b.RowNorms(norm, w, wa, aa, bt, transposed, s)
		want := make([]float64, out)
		for i := range out {
			for j := range in {
				x := w64[i*in+j]
				if transposed {
					x = w64[j*out+i]
				}
				for k := range r {
					x += s * bt64[k*out+i] * a64[k*in+j]
				}
				want[i] += x * x
			}
			want[i] = math.Sqrt(want[i])
		}
		b.near("norms", norm, want, tolerance)
	}
}

// Dropout keeps a share 1−p, scales what it keeps, and a key gives one mask,
// whatever the number of workers.
func TestDropout(t *testing.T) {
	b := newBed(t)
	const rows, cols, p = 201, 103, 0.3
	x, x64 := b.mat(rows, cols)
	y, again := b.zeros(rows, cols), b.clone(x)
	key := backend.Key{Seed: 1 << 40, Step: 3, Site: 2}
	b.b.Dropout(y, x, p, key, false)
	New(1).Dropout(again, x, p, key, true)
	got, sum := make([]float32, rows*cols), make([]float32, rows*cols)
	b.b.Read(got, y)
	b.b.Read(sum, again)
	kept := 0
	for i, v := range got {
		scaled := float32(x64[i]) * (1 / (1 - float32(p)))
		if v != 0 && v != scaled || sum[i] != float32(x64[i])+v {
			t.Fatalf("element %d is %g from %g, added to it %g", i, v, x64[i], sum[i])
		}
		if v != 0 {
			kept++
		}
	}
	// Four standard deviations of a binomial count of 20703: 264.
	if want := (1 - p) * rows * cols; math.Abs(float64(kept)-want) > 264 {
		t.Errorf("%d of %d kept, expected %.0f", kept, rows*cols, want)
	}
	other := b.zeros(rows, cols)
	key.Step++
	b.b.Dropout(other, x, p, key, false)
	b.b.Read(sum, other)
	same := 0
	for i := range got {
		if (got[i] == 0) == (sum[i] == 0) {
			same++
		}
	}
	// Two independent masks agree at 0.7² + 0.3² = 0.58 of the elements.
	if share := float64(same) / (rows * cols); math.Abs(share-0.58) > 0.02 {
		t.Errorf("masks of two steps agree at %.3f of the elements", share)
	}
}

// AdamW as in torch 2: three steps in float64.
func TestAdamW(t *testing.T) {
	b := newBed(t)
	p, p64 := b.mat(3, 8)
	m, v := b.zeros(3, 8), b.zeros(3, 8)
	m64, v64 := make([]float64, 24), make([]float64, 24)
	a := backend.Adam{LR: 0.1, Beta1: 0.9, Beta2: 0.99, Eps: 1e-8, Decay: 0.01, GradScale: 0.5}
	for step := 1; step <= 3; step++ {
		g, g64 := b.mat(3, 8)
		a.C1, a.C2 = 1-math.Pow(a.Beta1, float64(step)), 1-math.Pow(a.Beta2, float64(step))
		b.b.AdamW(p, g, m, v, a)
		for i, x := range g64 {
			x *= a.GradScale
			p64[i] *= 1 - a.LR*a.Decay
			m64[i] = a.Beta1*m64[i] + (1-a.Beta1)*x
			v64[i] = a.Beta2*v64[i] + (1-a.Beta2)*x*x
			p64[i] -= a.LR / a.C1 * m64[i] / (math.Sqrt(v64[i])/math.Sqrt(a.C2) + a.Eps)
		}
		b.near("p", p, p64, tolerance)
		b.near("m", m, m64, tolerance)
		b.near("v", v, v64, tolerance)
	}
}
