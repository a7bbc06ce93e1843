package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/train/internal/backend"
)

// bench64 is an operation in float64: outputs from inputs, as plain as it can
// be written. Its gradients are found by finite differences.
type op64 func(in [][]float64) (out [][]float64)

// gradients64 returns d(Σ seed·out)/d(in) by central differences. With values
// near 1, a step of 1e-5 leaves an error of about 1e-10.
func gradients64(f op64, in, seed [][]float64) [][]float64 {
	const h = 1e-5
	weighted := func() (s float64) {
		for k, out := range f(in) {
			for i, x := range out {
				s += x * seed[k][i]
			}
		}
		return s
	}
	grads := make([][]float64, len(in))
	for k, x := range in {
		grads[k] = make([]float64, len(x))
		for i, v := range x {
			x[i] = v + h
			up := weighted()
			x[i] = v - h
			grads[k][i] = (up - weighted()) / (2 * h)
			x[i] = v
		}
	}
	return grads
}

// A bed holds matrices with float64 twins.
type bed struct {
	t    *testing.T
	b    *Backend
	rand *rand.Rand
}

func newBed(t *testing.T) *bed {
	return &bed{t, New(3), rand.New(rand.NewPCG(1, 2))}
}

// mat returns a matrix of normal values, and the same in float64.
func (b *bed) mat(rows, cols int) (backend.Mat, []float64) {
	m := b.zeros(rows, cols)
	wide := make([]float64, rows*cols)
	for i := range wide {
		m.Mem.(*mem).values[i] = float32(b.rand.NormFloat64())
		wide[i] = float64(m.Mem.(*mem).values[i])
	}
	return m, wide
}

func (b *bed) zeros(rows, cols int) backend.Mat {
	m, err := b.b.Alloc(rows * cols)
	if err != nil {
		b.t.Fatal(err)
	}
	return backend.Dense(m, rows, cols)
}

// frozen returns m rounded to a dtype and frozen, and its values.
func (b *bed) frozen(m backend.Mat, d dtype.DType) (backend.Mat, []float64) {
	src := make([]float32, m.Rows*m.Cols)
	b.b.Read(src, m)
	raw := make([]byte, len(src)*d.Bits()/8)
	d.Encode32(raw, src)
	f, err := b.b.Frozen(d, raw)
	if err != nil {
		b.t.Fatal(err)
	}
	wide := make([]float64, len(src))
	d.Decode64(wide, raw)
	return backend.Dense(f, m.Rows, m.Cols), wide
}

// clone returns a copy of m.
func (b *bed) clone(m backend.Mat) backend.Mat {
	c := b.zeros(m.Rows, m.Cols)
	b.b.Copy(c, m)
	return c
}

// near fails unless got is want within tol of the largest value of want.
func (b *bed) near(name string, got backend.Mat, want []float64, tol float64) {
	b.t.Helper()
	have := make([]float32, got.Rows*got.Cols)
	b.b.Read(have, got)
	if len(have) != len(want) {
		b.t.Fatalf("%s: %d values, want %d", name, len(have), len(want))
	}
	top := 0.0
	for _, x := range want {
		top = max(top, math.Abs(x))
	}
	for i, x := range want {
		if d := math.Abs(float64(have[i]) - x); !(d <= tol*max(top, 1e-3)) {
			b.t.Fatalf("%s[%d] = %g, want %g (off by %.2g of the largest, %g)", name, i, have[i], x, d/top, top)
		}
	}
}

// tolerance of float32 results against float64 ones: sums of at most some
// hundred terms, each off by half a unit in the last place, 2⁻²⁴.
const tolerance = 100 * 0x1p-24

func rowsOf(x []float64, cols int) [][]float64 {
	out := make([][]float64, 0, len(x)/cols)
	for i := 0; i < len(x); i += cols {
		out = append(out, x[i:i+cols])
	}
	return out
}

func TestNorm(t *testing.T) {
	for _, layer := range []bool{false, true} {
		t.Run(fmt.Sprint("layer=", layer), func(t *testing.T) {
			b := newBed(t)
			const rows, cols, eps = 7, 19, 1e-5
			x, x64 := b.mat(rows, cols)
			gamma, gamma64 := b.mat(1, cols)
			beta, beta64 := b.mat(1, cols)
			if !layer {
				beta, beta64 = backend.Mat{}, make([]float64, cols)
			}
			seed, seed64 := b.mat(rows, cols)
			n := backend.Norm{Gamma: gamma, Beta: beta, Eps: eps, Layer: layer}
			ref := func(in [][]float64) [][]float64 { return [][]float64{norm64(in[0], in[1], in[2], eps, layer)} }
			in := [][]float64{x64, gamma64, beta64}
			y, stat := b.zeros(rows, cols), b.zeros(rows, 2)
			b.b.NormFwd(y, stat, x, n)
			b.near("y", y, ref(in)[0], tolerance)
			want := gradients64(ref, in, [][]float64{seed64})
			dx, dgamma, dbeta := b.zeros(rows, cols), b.zeros(1, cols), backend.Mat{}
			if layer {
				dbeta = b.zeros(1, cols)
			}
			b.b.NormBwd(dx, dgamma, dbeta, seed, x, stat, n)
			b.near("dx", dx, want[0], tolerance)
			b.near("dgamma", dgamma, want[1], tolerance)
			if layer {
				b.near("dbeta", dbeta, want[2], tolerance)
			}
		})
	}
}

func norm64(x, gamma, beta []float64, eps float64, layer bool) (out []float64) {
	cols := len(gamma)
	for _, row := range rowsOf(x, cols) {
		mean, sq := 0.0, 0.0
		for _, v := range row {
			mean += v / float64(cols)
		}
		if !layer {
			mean = 0
		}
		for _, v := range row {
			sq += (v - mean) * (v - mean) / float64(cols)
		}
		for j, v := range row {
			out = append(out, (v-mean)/math.Sqrt(sq+eps)*gamma[j]+beta[j])
		}
	}
	return out
}

func TestSwiGLU(t *testing.T) {
	b := newBed(t)
	g, g64 := b.mat(5, 21)
	u, u64 := b.mat(5, 21)
	seed, seed64 := b.mat(5, 21)
	ref := func(in [][]float64) [][]float64 {
		out := make([]float64, len(in[0]))
		for i, x := range in[0] {
			out[i] = x / (1 + math.Exp(-x)) * in[1][i]
		}
		return [][]float64{out}
	}
	h := b.zeros(5, 21)
	b.b.SwiGLUFwd(h, g, u)
	b.near("h", h, ref([][]float64{g64, u64})[0], tolerance)
	want := gradients64(ref, [][]float64{g64, u64}, [][]float64{seed64})
	b.b.SwiGLUBwd(g, u, seed)
	b.near("dg", g, want[0], tolerance)
	b.near("du", u, want[1], tolerance)
}

func TestGELU(t *testing.T) {
	b := newBed(t)
	x, x64 := b.mat(9, 30)
	dy, seed64 := b.mat(9, 30)
	x.Mem.(*mem).values[0], x64[0] = 0, 0
	x.Mem.(*mem).values[1], x64[1] = 30, 30
	x.Mem.(*mem).values[2], x64[2] = -30, -30
	x.Mem.(*mem).values[3], x64[3] = 0x1p-10, 0x1p-10
	ref := func(in [][]float64) [][]float64 {
		out := make([]float64, len(in[0]))
		for i, x := range in[0] {
			out[i] = x / 2 * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
		}
		return [][]float64{out}
	}
	y := b.zeros(9, 30)
	b.b.GELUFwd(y, x)
	b.near("y", y, ref([][]float64{x64})[0], tolerance)
	b.b.GELUBwd(dy, x)
	b.near("dx", dy, gradients64(ref, [][]float64{x64}, [][]float64{seed64})[0], tolerance)
}

func TestRope(t *testing.T) {
	b := newBed(t)
	const rows, heads, dim = 6, 3, 8
	x, x64 := b.mat(rows, heads*dim)
	cos, cos64 := b.mat(10, dim/2)
	sin, sin64 := b.mat(10, dim/2)
	seed, seed64 := b.mat(rows, heads*dim)
	positions := []int32{0, 3, 9, 0, 1, 2}
	ref := func(in [][]float64) [][]float64 {
		out := make([]float64, len(in[0]))
		for i, p := range positions {
			for h := range heads {
				for j := range dim / 2 {
					at := i*heads*dim + h*dim + j
					c, s := cos64[int(p)*dim/2+j], sin64[int(p)*dim/2+j]
					out[at] = in[0][at]*c - in[0][at+dim/2]*s
					out[at+dim/2] = in[0][at+dim/2]*c + in[0][at]*s
				}
			}
		}
		return [][]float64{out}
	}
	want := ref([][]float64{x64})[0]
	b.b.Rope(x, cos, sin, dim, positions, false)
	b.near("y", x, want, tolerance)
	b.b.Rope(seed, cos, sin, dim, positions, true)
	b.near("dx", seed, gradients64(ref, [][]float64{x64}, [][]float64{seed64})[0], tolerance)
}

func TestCrossEntropy(t *testing.T) {
	for _, smoothing := range []float64{0, 0.1} {
		b := newBed(t)
		const rows, vocab, scale = 4, 37, 0.25
		x, x64 := b.mat(rows, vocab)
		targets := []int32{5, -1, 36, 0}
		ref := func(in [][]float64) [][]float64 {
			out := make([]float64, rows)
			for i, row := range rowsOf(in[0], vocab) {
				if targets[i] >= 0 {
					out[i] = crossEntropy64(row, int(targets[i]), smoothing)
				}
			}
			return [][]float64{out}
		}
		loss := b.zeros(rows, 1)
		want := ref([][]float64{x64})[0]
		grads := gradients64(ref, [][]float64{x64}, [][]float64{{scale, scale, scale, scale}})[0]
		lost := b.clone(x)
		b.b.CrossEntropy(loss, lost, targets, scale, float32(smoothing), false)
		b.near("loss without gradient", loss, want, tolerance)
		b.b.CrossEntropy(loss, x, targets, scale, float32(smoothing), true)
		b.near("loss", loss, want, tolerance)
		b.near("dlogits", x, grads, tolerance)
	}
}

func crossEntropy64(x []float64, target int, smoothing float64) float64 {
	sum, mean := 0.0, 0.0
	for _, v := range x {
		sum += math.Exp(v)
		mean += v / float64(len(x))
	}
	return (1-smoothing)*(math.Log(sum)-x[target]) + smoothing*(math.Log(sum)-mean)
}
