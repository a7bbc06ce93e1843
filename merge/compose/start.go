package compose

import (
	"fmt"
	"math"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/internal/linalg"
	"github.com/loratool/loratool/internal/lowrank"
	"github.com/loratool/loratool/internal/philox"
)

// A startRule computes the factors that an initialisation takes from W.
type startRule struct {
	// factors returns B₀ [out, r] and A₀ [r, in], row-major, of W [out, in].
	factors     func(w lowrank.Mat, r int, s float64, workers int) (b, a []float64)
	noTranspose bool // PEFT does not do it where the base stores Wᵀ
}

// starts are the initialisations that are functions of the base, as PEFT has
// them (src/peft/tuners/lora/layer.py). The signs of singular vectors and of
// Householder reflections, which differ between libraries, cancel in B₀·A₀.
var starts = map[string]startRule{
	"pissa": {factors: pissa},
	"olora": {factors: olora, noTranspose: true},
}

// pissa is Meng et al. 2024, equations 2 to 4: s·B₀·A₀ is the best
// approximation of W of rank r.
func pissa(w lowrank.Mat, r int, s float64, workers int) (b, a []float64) {
	u, sigma, vt := leadingTriplets(w, r, workers)
	b, a = make([]float64, w.Rows*r), make([]float64, r*w.Cols)
	for j := range r {
		root := math.Sqrt(sigma[j] / math.Abs(s))
		for i := range w.Rows {
			b[i*r+j] = math.Copysign(root, s) * u.Data[i*u.RowStride+j*u.ColStride]
		}
		for i := range w.Cols {
			a[j*w.Cols+i] = root * vt.Data[j*vt.RowStride+i*vt.ColStride]
		}
	}
	return b, a
}

// olora is Büyükakyüz 2024, algorithm 1: B₀ is the first r columns of Q and
// A₀ the first r rows of R of W = Q·R. Q's first columns are those of W's.
func olora(w lowrank.Mat, r int, _ float64, workers int) (b, a []float64) {
	q := linalg.NewQR(w.View(0, 0, w.Rows, r))
	bm := linalg.Dense(make([]float64, w.Rows*r), w.Rows, r)
	q.Mul(bm, unit(r))
	am := linalg.Dense(make([]float64, r*w.Cols), r, w.Cols)
	linalg.ParallelGemm(workers, am, bm.T(), w, false)
	return bm.Data, am.Data
}

// Sizes of the subspace that leadingTriplets turns: the rank and twice as much
// again, so that the values just below the rank, which lie close together in
// trained weights, do not hold up convergence, which depends on the first value
// outside.
const (
	subspaceShare = 3
	subspaceExtra = 32
)

// leadingResidual is the residual ‖W·v − σ·u‖/σ₁ at which a triplet counts as
// found: well below what PEFT's float32 decomposition resolves.
const leadingResidual = 1e-11

// maxTurns bounds the iterations; past it the residual is what it is.
const maxTurns = 400

// leadingTriplets returns the r leading singular triplets of W: by subspace
// iteration with Rayleigh-Ritz steps in float64 (Halko, Martinsson and Tropp
// 2011, section 4.5), or all of them where the subspace would be half of W.
func leadingTriplets(w lowrank.Mat, r, workers int) (u lowrank.Mat, sigma []float64, vt lowrank.Mat) {
	n := subspaceShare*r + subspaceExtra
	if 2*n >= min(w.Rows, w.Cols) {
		return linalg.SVD(w)
	}
	x := startVectors(w.Cols, n) // in×n
	y := linalg.Dense(make([]float64, w.Rows*n), w.Rows, n)
	z := linalg.Dense(make([]float64, w.Cols*n), w.Cols, n)
	for turn := range maxTurns {
		linalg.ParallelGemm(workers, y, w, x, false)
		left := linalg.NewQR(y)
		basis := linalg.Dense(make([]float64, w.Rows*n), w.Rows, n)
		left.Mul(basis, unit(n))
		if turn%4 == 3 {
			u, sigma, vt = ritz(left, x)
			if residual(w, u, sigma, vt, r, workers) <= leadingResidual*sigma[0] {
				break
			}
		}
		linalg.ParallelGemm(workers, z, w.T(), basis, false)
		linalg.NewQR(z).Mul(x, unit(n))
	}
	return u, sigma, vt
}

// ritz decomposes W restricted to the orthonormal columns of x, given the QR
// of W·x.
func ritz(left *linalg.QR, x lowrank.Mat) (u lowrank.Mat, sigma []float64, vt lowrank.Mat) {
	core, sigma, rt := linalg.SVD(left.R())
	n := len(sigma)
	rows := left.Rows()
	u = linalg.Dense(make([]float64, rows*n), rows, n)
	left.Mul(u, core)
	return u, sigma, mul(rt, x.T())
}

// residual returns the largest ‖Wᵀ·u − σ·v‖ of the first r triplets.
func residual(w, u lowrank.Mat, sigma []float64, vt lowrank.Mat, r, workers int) float64 {
	p := linalg.Dense(make([]float64, r*w.Cols), r, w.Cols)
	linalg.ParallelGemm(workers, p, u.View(0, 0, u.Rows, r).T(), w, false)
	worst := 0.0
	for i := range r {
		sum := 0.0
		for j := range w.Cols {
			d := p.Data[i*w.Cols+j] - float64(sigma[i]*vt.Data[i*vt.RowStride+j*vt.ColStride])
			sum += float64(d * d)
		}
		worst = max(worst, math.Sqrt(sum))
	}
	return worst
}

// startVectors are n orthonormal columns, at random and always the same.
func startVectors(rows, n int) lowrank.Mat {
	m := linalg.Dense(make([]float64, rows*n), rows, n)
	key := philox.NewKey("loratool subspace 1", 0, "")
	for i := range m.Data {
		m.Data[i] = float64(float64(key.Word(uint64(i)))/(1<<31)) - 1
	}
	x := linalg.Dense(make([]float64, rows*n), rows, n)
	linalg.NewQR(m).Mul(x, unit(n))
	return x
}

// weightOf puts the weight of a module together from its pieces: [out, in].
func weightOf(base *checkpoint.Checkpoint, u adapter.Update) (lowrank.Mat, error) {
	out, in := u.Module.B.Shape[0], u.Module.A.Shape[1]
	w := linalg.Dense(make([]float64, out*in), out, in)
	for _, p := range u.Pieces {
		shard, t, ok := base.Lookup(p.Tensor)
		if !ok || !t.DType.Float() {
			return w, &rule.Unsupported{What: fmt.Sprintf("weight %q of dtype %v", p.Tensor, t.DType), Hint: "give the base in bf16, f16 or f32"}
		}
		plane := adapter.Tensor{Name: t.Name, DType: t.DType, Shape: t.Shape, Bytes: base.Bytes(shard, t)}
		copyPiece(w, p, plane)
	}
	for i, x := range w.Data {
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return w, fmt.Errorf("module %q: element %d of the base's weight is %v", u.Module.Name(), i, x)
		}
	}
	return w, nil
}

// copyPiece decodes the elements of a piece row by row of the tensor.
func copyPiece(w lowrank.Mat, p adapter.Piece, t adapter.Tensor) {
	shape := t.Shape
	first := 0
	if p.Expert >= 0 {
		first, shape = p.Expert*t.Elements()/t.Shape[0], t.Shape[1:]
	}
	cols := 1
	for _, d := range shape[1:] {
		cols *= d
	}
	width := t.DType.Bits() / 8
	row := make([]float64, cols)
	for i := range p.Row.Len {
		at := (first + (p.Row.First+i*p.Row.Step)*cols) * width
		t.DType.Decode64(row, t.Bytes[at:at+cols*width])
		for j := range p.Col.Len {
			x := row[p.Col.First+j*p.Col.Step]
			o, n := p.Out.First+i*p.Out.Step, p.In.First+j*p.In.Step
			if p.Transposed {
				o, n = p.Out.First+j*p.Out.Step, p.In.First+i*p.In.Step
			}
			w.Data[o*w.RowStride+n] = x
		}
	}
}
