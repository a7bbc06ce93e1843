package compose

import (
	"context"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"gonum.org/v1/gonum/mat"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/internal/linalg"
)

// TestStarts holds the factors that are taken from a base against LAPACK's:
// the best approximation of W, and the first r terms of its QR.
func TestStarts(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, size := range [][2]int{{40, 30}, {30, 40}, {300, 260}, {220, 400}} {
		const rank, s = 4, 2.5
		w := linalg.Dense(make([]float64, size[0]*size[1]), size[0], size[1])
		for i := range w.Data {
			w.Data[i] = r.NormFloat64() * 0.02
		}
		dense := mat.NewDense(size[0], size[1], w.Data)
		var svd mat.SVD
		svd.Factorize(dense, mat.SVDThin)
		var u, v mat.Dense
		svd.UTo(&u)
		svd.VTo(&v)
		best := mat.NewDense(size[0], size[1], nil)
		for k, sigma := range svd.Values(nil)[:rank] {
			var outer mat.Dense
			outer.Outer(sigma, u.ColView(k), v.ColView(k))
			best.Add(best, &outer)
		}
		b, a := starts["pissa"].factors(w, rank, s, 2)
		near(t, "pissa", scaledProduct(b, a, rank, s), best, 1e-7)

		var qr mat.QR
		qr.Factorize(tall(dense))
		var q mat.Dense
		qr.QTo(&q)
		first := mat.DenseCopyOf(q.Slice(0, size[0], 0, rank))
		var rows, want mat.Dense
		rows.Mul(first.T(), dense)
		want.Mul(first, &rows)
		b, a = starts["olora"].factors(w, rank, s, 2)
		near(t, "olora", scaledProduct(b, a, rank, 1), &want, 1e-12)
	}
}

// tall returns the first columns of m, no more than it has rows: gonum's QR
// takes no wide matrices.
func tall(m *mat.Dense) *mat.Dense {
	rows, cols := m.Dims()
	return mat.DenseCopyOf(m.Slice(0, rows, 0, min(rows, cols)))
}

func scaledProduct(b, a []float64, rank int, s float64) *mat.Dense {
	var p mat.Dense
	p.Mul(mat.NewDense(len(b)/rank, rank, b), mat.NewDense(rank, len(a)/rank, a))
	p.Scale(s, &p)
	return &p
}

// mutated returns an adapter before and after training with an initialisation
// that changed the base.
func mutated(init string, specs ...spec) (before, after *adapter.Adapter) {
	before, after = makeAdapter(51, dtype.F32, specs...), makeAdapter(51, dtype.F32, specs...)
	step := makeAdapter(52, dtype.F32, specs...)
	for i, m := range after.Modules {
		m.A = nudged(m.A, step.Modules[i].A)
		m.B = nudged(m.B, step.Modules[i].B)
	}
	after.Init = init
	after.Refusals = []*rule.Unsupported{{What: "init_lora_weights " + init}}
	return before, after
}

// nudged returns x + y/100.
func nudged(x, y adapter.Tensor) adapter.Tensor {
	v := x.Float64s()
	for i, d := range y.Float64s() {
		v[i] += d / 100
	}
	return adapter.NewTensor(x.DType, x.Shape, v)
}

// TestPlain: the plain adapter's delta is s·B·A − s·B₀·A₀ at twice the rank,
// or less where training moved fewer directions.
func TestPlain(t *testing.T) {
	specs := []spec{{name: "q", out: 30, in: 24, rank: 4, alpha: 8}, {name: "rs", out: 24, in: 30, rank: 3, alpha: 4, rs: true}}
	before, after := mutated("corda", specs...)
	after.Modules[1].A = before.Modules[1].A // only B was trained
	out, report, err := Plain(context.Background(), after, Origin{Init: before}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range after.Modules {
		want := deltas(m)[0]
		want.Sub(want, deltas(before.Modules[i])[0])
		near(t, m.Name(), deltas(find(out, m.Name()))[0], want, 10*inF32)
	}
	if q, rs := find(out, "q").Rank, find(out, "rs").Rank; q != 8 || rs != 3 {
		t.Errorf("ranks %d and %d, want 8 and 3; error %v", q, rs, report.Error)
	}
	if out.Init != "" || out.Mergeable() != nil {
		t.Error("the plain adapter is not one")
	}
}

func TestPlainRefuses(t *testing.T) {
	one := spec{name: "q", out: 30, in: 24, rank: 4, alpha: 8}
	before, after := mutated("corda", one)
	plain := makeAdapter(53, dtype.F32, one)
	other := makeAdapter(54, dtype.F32, spec{name: "q", out: 30, in: 24, rank: 4, alpha: 4})
	fewer := makeAdapter(54, dtype.F32, spec{name: "v", out: 30, in: 24, rank: 4, alpha: 8})
	more := makeAdapter(54, dtype.F32, one, spec{name: "v", out: 30, in: 24, rank: 4, alpha: 8})
	_, loftq := mutated("loftq", one)
	for _, c := range []struct {
		a, init *adapter.Adapter
		want    string
	}{
		{plain, before, "it is a plain LoRA"}, {after, other, "scaling"}, {after, fewer, "no module"}, {after, more, "2 modules"}, {loftq, before, "loftq"}, {after, nil, "--init"},
	} {
		_, _, err := Plain(context.Background(), c.a, Origin{Init: c.init}, Options{})
		u, _ := err.(*rule.Unsupported)
		if err == nil || !strings.Contains(err.Error(), c.want) && (u == nil || !strings.Contains(u.Hint, c.want)) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
	if n := math.Abs(float64(len(after.Refusals))); n != 1 {
		t.Error("the input was changed")
	}
}
