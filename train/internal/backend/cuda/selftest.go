//go:build cuda

package cuda

import (
	"math"
	"math/rand/v2"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/train/internal/backend"
	"github.com/loratool/loratool/train/internal/backend/cpu"
)

// tolerance of one operation against the CPU: both sum at most some hundred
// float32 or float64 terms, each off by half a unit in the last place, 2⁻²⁴.
const tolerance = 100 * 0x1p-24

// roundedTolerance is that of products whose activations are rounded to the 8
// bits of BF16: off by 2⁻⁹ of the largest, times the root of their number.
const roundedTolerance = 0.02

// A bed runs operations on both devices and compares what they leave.
type bed struct {
	b      [2]backend.Backend // CPU and GPU
	rand   *rand.Rand
	checks []Check
	err    error // the first; nothing is run after it
}

// A twin is a matrix on both.
type twin [2]backend.Mat

// Compare runs every operation on the CPU and on a GPU.
func Compare(o Options) ([]Check, Info, error) {
	gpu, info, err := New(o)
	if err != nil {
		return nil, info, err
	}
	host := cpu.New(2)
	host.SetExact(!o.TensorCores)
	b := &bed{b: [2]backend.Backend{host, gpu}, rand: rand.New(rand.NewPCG(1, 2))}
	b.elements()
	b.rows()
	b.norms()
	b.products(o)
	b.attention()
	b.training()
	return b.checks, info, b.err
}

// mat returns a matrix of normal values within a larger one, so that rows
// have a gap.
func (b *bed) mat(rows, cols int) twin {
	values := make([]float32, (rows+1)*(cols+3))
	for i := range values {
		values[i] = float32(b.rand.NormFloat64())
	}
	var m twin
	for d := range b.b {
		mem, err := b.b[d].Alloc(len(values))
		if err != nil {
			b.fail(err)
			return m
		}
		whole := backend.Dense(mem, rows+1, cols+3)
		b.b[d].Write(whole, values)
		m[d] = whole.View(1, 2, rows, cols)
	}
	return m
}

// frozen returns a matrix of weights in a dtype.
func (b *bed) frozen(d dtype.DType, rows, cols int) (m twin) {
	values := make([]float32, rows*cols)
	for i := range values {
		values[i] = float32(b.rand.NormFloat64())
	}
	raw := make([]byte, len(values)*d.Bits()/8)
	d.Encode32(raw, values)
	for i := range b.b {
		mem, err := b.b[i].Frozen(d, raw)
		if err != nil {
			b.fail(err)
			return m
		}
		m[i] = backend.Dense(mem, rows, cols)
	}
	return m
}

func (b *bed) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

// both runs an operation on both devices.
func (b *bed) both(op func(b backend.Backend, d int)) {
	for d := range b.b {
		if b.err == nil {
			op(b.b[d], d)
		}
	}
	b.fail(b.b[1].Err())
}

// equal notes how far the devices are apart, of the largest value.
func (b *bed) equal(name string, m twin, tol float64) {
	if b.err != nil {
		return
	}
	got, want := b.read(1, m), b.read(0, m)
	b.fail(b.b[1].Err())
	top, worst := 1e-3, 0.0
	for i, x := range want {
		top = max(top, math.Abs(float64(x)))
		if d := math.Abs(float64(got[i]) - float64(x)); !(d <= worst) {
			worst = d
		}
	}
	b.note(name, worst/top, tol)
}

// note keeps the worst case of each operation.
func (b *bed) note(name string, apart, allowed float64) {
	ok := apart <= allowed
	for i := range b.checks {
		if c := &b.checks[i]; c.Name == name {
			if !(apart <= c.Apart) {
				c.Apart = apart
			}
			c.OK = c.OK && ok
			return
		}
	}
	b.checks = append(b.checks, Check{name, apart, allowed, ok})
}

func (b *bed) read(d int, m twin) []float32 {
	values := make([]float32, m[d].Rows*m[d].Cols)
	b.b[d].Read(values, m[d])
	return values
}

func (b *bed) elements() {
	x, y, z := b.mat(5, 37), b.mat(5, 37), b.mat(5, 37)
	bias, sums := b.mat(1, 37), b.mat(1, 37)
	frozen := b.frozen(dtype.F16, 5, 37)
	frozenBias := b.frozen(dtype.BF16, 1, 37)
	for _, c := range []struct {
		name string
		op   func(b backend.Backend, d int)
		out  []twin
		tol  float64
	}{
		{"Copy", func(b backend.Backend, d int) { b.Copy(y[d], frozen[d]) }, []twin{y}, 0},
		{"Add", func(b backend.Backend, d int) { b.Add(y[d], x[d], 0.3) }, []twin{y}, 0},
		{"Scale", func(b backend.Backend, d int) { b.Scale(y[d], -1.7) }, []twin{y}, 0},
		{"AddBias", func(b backend.Backend, d int) { b.AddBias(y[d], frozenBias[d]) }, []twin{y}, 0},
		{"BiasGrad", func(b backend.Backend, d int) { b.BiasGrad(sums[d], y[d]) }, []twin{sums}, tolerance},
		{"ColDot", func(b backend.Backend, d int) { b.ColDot(sums[d], x[d], y[d]) }, []twin{sums}, tolerance},
		{"ScaleCols", func(b backend.Backend, d int) { b.ScaleCols(z[d], x[d], bias[d]) }, []twin{z}, 0},
		{"Divide", func(b backend.Backend, d int) { b.Divide(sums[d], bias[d], sums[d]) }, []twin{sums}, tolerance},
		{"Dropout", func(b backend.Backend, d int) {
			b.Dropout(z[d], x[d], 0.4, backend.Key{Seed: 1 << 40, Step: 3, Site: 7}, false)
		}, []twin{z}, 0},
		{"Dropout adding", func(b backend.Backend, d int) { b.Dropout(z[d], y[d], 0.1, backend.Key{Seed: 5}, true) }, []twin{z}, 0},
		{"SwiGLUFwd", func(b backend.Backend, d int) { b.SwiGLUFwd(z[d], x[d], y[d]) }, []twin{z}, tolerance},
		{"SwiGLUBwd", func(b backend.Backend, d int) { b.SwiGLUBwd(x[d], y[d], z[d]) }, []twin{x, y}, tolerance},
		{"GELUFwd", func(b backend.Backend, d int) { b.GELUFwd(z[d], x[d]) }, []twin{z}, tolerance},
		{"GELUBwd", func(b backend.Backend, d int) { b.GELUBwd(z[d], y[d]) }, []twin{z}, tolerance},
		{"Zero", func(b backend.Backend, d int) { b.Zero(z[d]) }, []twin{z}, 0},
	} {
		b.both(c.op)
		for _, out := range c.out {
			b.equal(c.name, out, c.tol)
		}
	}
}

func (b *bed) rows() {
	table, dtable := b.frozen(dtype.BF16, 11, 24), b.mat(11, 24)
	y, src := b.mat(6, 24), b.mat(4, 24)
	cos, sin := b.mat(9, 4), b.mat(9, 4)
	ids := []int32{3, 10, -1, 3, 0, 12}
	b.both(func(k backend.Backend, d int) { k.Gather(y[d], table[d], ids) })
	b.equal("Gather", y, 0)
	b.both(func(k backend.Backend, d int) { k.Scatter(dtable[d], y[d], ids) })
	b.equal("Scatter", dtable, 0)
	rows := []int32{-1, 2, 0, -1, 2, 3}
	b.both(func(k backend.Backend, d int) { k.Overwrite(y[d], src[d], rows) })
	b.equal("Overwrite", y, 0)
	b.both(func(k backend.Backend, d int) { k.OverwriteGrad(src[d], y[d], rows) })
	b.equal("OverwriteGrad", src, 0)
	b.equal("OverwriteGrad clears", y, 0)
	for _, inverse := range []bool{false, true} {
		b.both(func(k backend.Backend, d int) { k.Rope(y[d], cos[d], sin[d], 8, []int32{0, 1, 8, 0, 3, 2}, inverse) })
		b.equal("Rope", y, 0)
	}
}

func (b *bed) norms() {
	for _, cols := range []int{1, 33, 300} {
		for _, layer := range []bool{false, true} {
			x, y, stat, dx, dy := b.mat(4, cols), b.mat(4, cols), b.mat(4, 2), b.mat(4, cols), b.mat(4, cols)
			gamma, beta, dgamma, dbeta := b.frozen(dtype.BF16, 1, cols), b.mat(1, cols), b.mat(1, cols), b.mat(1, cols)
			norm := func(d int) backend.Norm {
				n := backend.Norm{Gamma: gamma[d], Eps: 1e-5, Layer: layer}
				if layer {
					n.Beta = beta[d]
				}
				return n
			}
			b.both(func(k backend.Backend, d int) { k.NormFwd(y[d], stat[d], x[d], norm(d)) })
			b.equal("NormFwd", y, tolerance)
			b.equal("NormFwd, statistics", stat, tolerance)
			b.both(func(k backend.Backend, d int) { k.NormBwd(dx[d], dgamma[d], dbeta[d], dy[d], x[d], stat[d], norm(d)) })
			b.equal("NormBwd", dx, tolerance)
			b.equal("NormBwd, dgamma", dgamma, tolerance)
			b.equal("NormBwd, dbeta", dbeta, tolerance)
		}
	}
}

// products checks every orientation over sizes around the tiles of the kernel.
func (b *bed) products(o Options) {
	tol := tolerance
	if o.TensorCores {
		tol = roundedTolerance
	}
	for _, s := range [][3]int{{1, 1, 1}, {8, 16, 16}, {9, 17, 33}, {3, 40, 5}} {
		m, n, k := s[0], s[1], s[2]
		for bits := range 8 {
			ta, tb, add := bits&1 != 0, bits&2 != 0, bits&4 != 0
			a, w := b.mat(m, k), b.frozen(dtype.BF16, k, n)
			if ta {
				a = b.mat(k, m)
			}
			if tb {
				w = b.frozen(dtype.BF16, n, k)
			}
			c, sum, plain := b.mat(m, n), b.mat(m, n), b.mat(k, n)
			b.both(func(k backend.Backend, d int) { k.Gemm(a[d], ta, backend.Product{C: c[d], B: w[d], TB: tb, Add: add}) })
			b.equal("Gemm of a weight", c, tol)
			if !tb {
				b.both(func(k backend.Backend, d int) { k.Gemm(a[d], ta, backend.Product{C: sum[d], B: plain[d], Add: add}) })
				b.equal("Gemm", sum, tolerance)
			}
		}
	}
}

func (b *bed) attention() {
	for _, c := range []struct {
		name     string
		segments []backend.Segment
		h        backend.Heads
		rows     int
		keys     int
	}{
		{"two segments", []backend.Segment{{Queries: 7, Keys: 7}, {Query: 7, Queries: 150, Key: 7, Keys: 150}}, backend.Heads{Q: 4, KV: 2, Dim: 8, Scale: 0.35}, 157, 157},
		{"window", []backend.Segment{{Queries: 140, Keys: 140}}, backend.Heads{Q: 2, KV: 2, Dim: 6, Scale: 0.4, Window: 5}, 140, 140},
		{"wide heads", []backend.Segment{{Queries: 5, Keys: 5}}, backend.Heads{Q: 1, KV: 1, Dim: 130, Scale: 0.1}, 5, 5},
		{"cached keys", []backend.Segment{{Queries: 3, Keys: 9}}, backend.Heads{Q: 2, KV: 1, Dim: 8, Scale: 0.35}, 3, 9},
	} {
		q, do, dq, o := b.mat(c.rows, c.h.Q*c.h.Dim), b.mat(c.rows, c.h.Q*c.h.Dim), b.mat(c.rows, c.h.Q*c.h.Dim), b.mat(c.rows, c.h.Q*c.h.Dim)
		k, v, dk, dv := b.mat(c.keys, c.h.KV*c.h.Dim), b.mat(c.keys, c.h.KV*c.h.Dim), b.mat(c.keys, c.h.KV*c.h.Dim), b.mat(c.keys, c.h.KV*c.h.Dim)
		stat := b.mat(c.rows, 2*c.h.Q)
		b.both(func(x backend.Backend, d int) { x.AttnFwd(o[d], stat[d], q[d], k[d], v[d], c.segments, c.h) })
		b.equal("AttnFwd, "+c.name, o, tolerance)
		b.equal("AttnFwd, statistics", stat, tolerance)
		b.both(func(x backend.Backend, d int) {
			x.AttnBwd(dq[d], dk[d], dv[d], do[d], o[d], stat[d], q[d], k[d], v[d], c.segments, c.h)
		})
		b.equal("AttnBwd, dq", dq, tolerance)
		b.equal("AttnBwd, dk", dk, tolerance)
		b.equal("AttnBwd, dv", dv, tolerance)
	}
}

func (b *bed) training() {
	targets := []int32{4, -1, 200, 0}
	for _, smoothing := range []float32{0, 0.1} {
		for _, grad := range []bool{false, true} {
			loss, logits := b.mat(4, 1), b.mat(4, 301)
			b.both(func(k backend.Backend, d int) { k.CrossEntropy(loss[d], logits[d], targets, 0.25, smoothing, grad) })
			b.equal("CrossEntropy", loss, tolerance)
			if grad {
				b.equal("CrossEntropy, gradient", logits, tolerance)
			}
		}
	}
	p, g, m, v := b.mat(3, 50), b.mat(3, 50), b.mat(3, 50), b.mat(3, 50)
	b.both(func(k backend.Backend, d int) { k.Zero(m[d]); k.Zero(v[d]) })
	b.both(func(k backend.Backend, d int) {
		k.AdamW(p[d], g[d], m[d], v[d], backend.Adam{LR: 1e-2, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, Decay: 0.1, C1: 0.1, C2: 0.001, GradScale: 0.5})
	})
	for _, x := range []twin{p, m, v} {
		b.equal("AdamW", x, 0x1p-23)
	}
	if b.err == nil {
		got, want := b.b[1].SumSq(g[1]), b.b[0].SumSq(g[0])
		b.note("SumSq", math.Abs(got-want)/want, 1e-12)
	}
	for _, transposed := range []bool{false, true} {
		w, wa, aa, bt, norm := b.frozen(dtype.BF16, 20, 30), b.mat(20, 4), b.mat(4, 4), b.mat(4, 20), b.mat(1, 20)
		if transposed {
			w = b.frozen(dtype.BF16, 30, 20)
		}
		b.both(func(k backend.Backend, d int) { k.RowNorms(norm[d], w[d], wa[d], aa[d], bt[d], transposed, 0.5) })
		b.equal("RowNorms", norm, tolerance)
	}
}
