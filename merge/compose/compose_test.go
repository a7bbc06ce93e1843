package compose

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gonum.org/v1/gonum/mat"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/note"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/internal/lowrank"
)

func compose(t *testing.T, o Options, adapters ...Weighted) (*adapter.Adapter, *Report) {
	t.Helper()
	a, r, err := Compose(context.Background(), adapters, o)
	if err != nil {
		t.Fatalf("%s: %v", o.Method, err)
	}
	return a, r
}

func sameTensor(x, y adapter.Tensor) bool {
	return x.DType == y.DType && fmt.Sprint(x.Shape) == fmt.Sprint(y.Shape) && bytes.Equal(x.Bytes, y.Bytes)
}

// TestIdentity: one adapter of weight 1 comes out byte for byte, with
// everything that belongs to it.
func TestIdentity(t *testing.T) {
	for _, dt := range []dtype.DType{dtype.F32, dtype.BF16, dtype.F16} {
		for name, specs := range map[string][]spec{
			"kinds": everyKind,
			"dora":  {{name: "q", out: 8, in: 6, rank: 2, alpha: 4, dora: true}},
			"bias":  {{name: "q", out: 8, in: 6, rank: 2, alpha: 4, bias: true}, {name: "v", out: 8, in: 6, rank: 2, alpha: 4, bias: true}},
		} {
			a := makeAdapter(1, dt, specs...)
			a.Replacements = []adapter.Replacement{{Name: "score.weight", Reason: "modules_to_save", Value: a.Modules[0].A}}
			a.Tokens = []adapter.TokenRows{{Path: "tok", Indices: []int{0, 1}, Rows: a.Modules[0].B}}
			for _, method := range []Method{Sum, Cat, SVD, Linear} {
				out, report := compose(t, Options{Method: method}, Weighted{a, 1})
				if len(out.Modules) != len(a.Modules) || len(out.Replacements) != 1 || len(out.Tokens) != 1 {
					t.Fatalf("%s %s %v: parts are missing", name, method, dt)
				}
				for _, m := range a.Modules {
					got := find(out, m.Name())
					if !sameTensor(got.A, m.A) || !sameTensor(got.B, m.B) || got.Scaling() != m.Scaling() || got.Rank != m.Rank || got.Magnitude != m.Magnitude || got.Bias != m.Bias {
						t.Errorf("%s %s %v: module %s is not the same", name, method, dt, m.Name())
					}
				}
				if report.Error != 0 {
					t.Errorf("%s %s %v: error %v", name, method, dt, report.Error)
				}
			}
		}
	}
}

// TestWeightOfOne: a weight changes alpha and signs, not digits.
func TestWeightOfOne(t *testing.T) {
	a := makeAdapter(2, dtype.BF16, everyKind...)
	out, _ := compose(t, Options{}, Weighted{a, -0.7})
	for _, m := range a.Modules {
		got := find(out, m.Name())
		if !sameTensor(got.A, m.A) {
			t.Errorf("%s: A changed", m.Name())
		}
		for e, d := range deltas(m) {
			d.Scale(-0.7, d)
			near(t, m.Name(), deltas(got)[e], d, 1e-15)
		}
	}
}

// pair are adapters of different ranks, alphas, rules and targets.
func pair() (*adapter.Adapter, *adapter.Adapter) {
	other := append([]spec{}, everyKind...)
	for i := range other {
		other[i].rank++
		other[i].alpha *= 1.5
		other[i].rs = !other[i].rs
	}
	other[0].name = "layers.1.q_proj"
	return makeAdapter(3, dtype.F32, everyKind...), makeAdapter(4, dtype.F32, other...)
}

// TestExact holds sum, cat, svd at full rank and linear against the dense sum,
// with negative weights.
func TestExact(t *testing.T) {
	x, y := pair()
	full := lowrank.Rules{Rule: lowrank.Fixed(100)}
	for _, o := range []Options{{}, {Method: Cat}, {Method: SVD, Rank: &full}, {Method: Linear}, {Method: Cat, Dialect: PEFT}} {
		out, report := compose(t, o, Weighted{x, 0.8}, Weighted{y, -1.3})
		checkSum(t, string(o.Method), out, x, y, 0.8, -1.3)
		if report.Error > inF32 {
			t.Errorf("%s: reported error %v", o.Method, report.Error)
		}
		if len(out.Modules) != len(everyKind)+1 {
			t.Errorf("%s: %d modules", o.Method, len(out.Modules))
		}
	}
	out, _ := compose(t, Options{Method: Linear, Dialect: Mergekit}, Weighted{x, 3}, Weighted{y, 1})
	checkSum(t, "mergekit linear", out, x, y, 0.75, 0.25)
}

func checkSum(t *testing.T, what string, out, x, y *adapter.Adapter, wx, wy float64) {
	t.Helper()
	for _, m := range out.Modules {
		got := deltas(m)
		for e := range got {
			r, c := got[e].Dims()
			want := mat.NewDense(r, c, nil)
			for _, in := range []struct {
				a *adapter.Adapter
				w float64
			}{{x, wx}, {y, wy}} {
				if f := find(in.a, m.Name()); f != nil {
					d := deltas(f)[e]
					d.Scale(in.w, d)
					want.Add(want, d)
				}
			}
			near(t, what+" "+m.Name(), got[e], want, inF32)
		}
	}
}

// TestExactOfNarrow: a part of a 16-bit adapter that is smaller than the
// rounding of its other parts is a part all the same, where the result can hold
// it.
func TestExactOfNarrow(t *testing.T) {
	x, y := makeAdapter(5, dtype.F16, spec{name: "q", out: 20, in: 16, rank: 3, alpha: 3}), makeAdapter(6, dtype.F32, spec{name: "q", out: 20, in: 16, rank: 2, alpha: 4})
	values := x.Modules[0].A.Float64s()
	for i := range 16 {
		values[i] *= 1e-4
	}
	x.Modules[0].A = adapter.NewTensor(dtype.F16, []int{3, 16}, values)
	out, _ := compose(t, Options{}, Weighted{x, 1}, Weighted{y, 1})
	checkSum(t, "narrow", out, x, y, 1, 1)
	if m := out.Modules[0]; m.Rank != 5 || m.A.DType != dtype.F32 {
		t.Errorf("rank %d of %v, want 5 of F32", m.Rank, m.A.DType)
	}
}

// TestAlgebra: the sum finds the rank that is left after terms cancel.
func TestAlgebra(t *testing.T) {
	x, y := pair()
	both, _ := compose(t, Options{}, Weighted{x, 1}, Weighted{y, 1})
	back, report := compose(t, Options{}, Weighted{both, 1}, Weighted{y, -1})
	for _, m := range x.Modules {
		got := find(back, m.Name())
		if got == nil || got.Rank != m.Rank {
			t.Errorf("(x+y)-y at %s: %+v, want rank %d", m.Name(), got, m.Rank)
			continue
		}
		for e, d := range deltas(m) {
			near(t, "(x+y)-y at "+m.Name(), deltas(got)[e], d, 20*inF32)
		}
	}
	if find(back, "layers.1.q_proj") != nil || len(report.Dropped) != 1 {
		t.Errorf("what only y has is left: %v", report.Dropped)
	}
	if _, _, err := Compose(context.Background(), []Weighted{{x, 1}, {x, -1}}, Options{}); err == nil || !strings.Contains(err.Error(), "every delta is zero") {
		t.Errorf("x-x: %v", err)
	}
}

// TestTruncation: the error of svd and of Rerank is the tail of the singular
// values, and so is the one reported.
func TestTruncation(t *testing.T) {
	x, y := pair()
	x.Modules[0].Path = "layers.1.q_proj"
	rules := lowrank.Rules{Rule: lowrank.Fixed(2), For: []lowrank.Override{{Glob: "experts*", Rule: lowrank.Fixed(1)}}}
	out, report := compose(t, Options{Method: SVD, Rank: &rules}, Weighted{x, 1}, Weighted{y, 0.5})
	ranked, rreport, err := Rerank(context.Background(), x, rules, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		out      *adapter.Adapter
		report   *Report
		adapters []Weighted
	}{{out, report, []Weighted{{x, 1}, {y, 0.5}}}, {ranked, rreport, []Weighted{{x, 1}}}} {
		for _, r := range c.report.Modules {
			got := deltas(find(c.out, r.Name))
			tail, norm, off := 0.0, 0.0, 0.0
			for e := range got {
				want := mat.NewDense(got[e].RawMatrix().Rows, got[e].RawMatrix().Cols, nil)
				for _, w := range c.adapters {
					if f := find(w.Adapter, r.Name); f != nil {
						d := deltas(f)[e]
						d.Scale(w.Weight, d)
						want.Add(want, d)
					}
				}
				var svd mat.SVD
				svd.Factorize(want, mat.SVDNone)
				for _, s := range svd.Values(nil)[r.Rank:] {
					tail += s * s
				}
				norm += math.Pow(mat.Norm(want, 2), 2)
				want.Sub(want, got[e])
				off += math.Pow(mat.Norm(want, 2), 2)
			}
			if best := math.Sqrt(tail / norm); math.Abs(math.Sqrt(off/norm)-best) > inF32 || math.Abs(r.Error-math.Sqrt(off/norm)) > 1e-3*inF32 {
				t.Errorf("%s at rank %d: error %v, reported %v, best %v", r.Name, r.Rank, math.Sqrt(off/norm), r.Error, best)
			}
		}
	}
	for _, m := range ranked.Modules { // scalings stay
		if was := find(x, m.Name()); math.Abs(m.Scaling()/was.Scaling()-1) > 1e-15 || m.Rule != was.Rule {
			t.Errorf("%s: scaling %v, was %v", m.Name(), m.Scaling(), was.Scaling())
		}
	}
}

// TestRerankRules: each rule gives the rank that the singular values of the
// dense delta say.
func TestRerankRules(t *testing.T) {
	a := makeAdapter(5, dtype.F32, spec{name: "q", out: 40, in: 30, rank: 12, alpha: 12})
	var svd mat.SVD
	svd.Factorize(deltas(a.Modules[0])[0], mat.SVDNone)
	sigma := svd.Values(nil)[:12]
	square := 0.0
	for _, s := range sigma {
		square += s * s
	}
	for _, c := range []struct {
		rule string
		want func(k int, tail float64) bool // whether rank k is enough
	}{
		{"energy=0.9", func(k int, tail float64) bool { return tail <= 0.1*square }},
		{"error=0.3", func(k int, tail float64) bool { return math.Sqrt(tail) <= 0.3*math.Sqrt(square) }},
		{"ratio=0.5", func(k int, tail float64) bool { return k == 12 || sigma[k] < 0.5*sigma[0] }},
		{"5", func(k int, tail float64) bool { return k == 5 }},
		{"50", func(k int, tail float64) bool { return k == 12 }},
		{"auto", func(k int, tail float64) bool { return k == 12 }},
	} {
		r, err := lowrank.ParseRule(c.rule)
		if err != nil {
			t.Fatal(err)
		}
		want, tail := 0, square
		for ; want < 12 && !c.want(want, tail); want++ {
			tail -= sigma[want] * sigma[want]
		}
		out, _, err := Rerank(context.Background(), a, lowrank.Rules{Rule: r}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := out.Modules[0].Rank; got != want {
			t.Errorf("%s: rank %d, want %d", c.rule, got, want)
		}
	}
}

func TestBudget(t *testing.T) {
	a := makeAdapter(6, dtype.F32, everyKind...)
	for _, limit := range []int64{4000, 6000, 1 << 20} {
		r, err := lowrank.ParseRule(fmt.Sprint("budget=", limit))
		if err != nil {
			t.Fatal(err)
		}
		out, report, err := Rerank(context.Background(), a, lowrank.Rules{Rule: r}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(t.TempDir(), "out")
		if err := dialect.WritePEFT(dir, out, dialect.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(dir, dialect.WeightsName))
		if err != nil || info.Size() > limit {
			t.Errorf("budget %d: a file of %d bytes, %v", limit, info.Size(), err)
		}
		if limit == 1<<20 && (report.Error != 0 || len(out.Modules) != len(a.Modules)) {
			t.Errorf("a budget for everything: error %v", report.Error)
		}
	}
}

// TestDoRA: re-ranking keeps magnitudes, composing refuses them.
func TestDoRA(t *testing.T) {
	a := makeAdapter(7, dtype.F32, spec{name: "q", out: 20, in: 20, rank: 4, alpha: 8, dora: true})
	out, report, err := Rerank(context.Background(), a, lowrank.Rules{Rule: lowrank.Fixed(2)}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !sameTensor(*out.Modules[0].Magnitude, *a.Modules[0].Magnitude) || len(report.Warnings) == 0 {
		t.Errorf("magnitude %v, warnings %v", out.Modules[0].Magnitude, report.Warnings)
	}
	plain := makeAdapter(8, dtype.F32, spec{name: "q", out: 20, in: 20, rank: 4, alpha: 8})
	for _, adapters := range [][]Weighted{{{a, 1}, {plain, 1}}, {{a, 0.5}}} {
		_, _, err := Compose(context.Background(), adapters, Options{})
		if u, ok := errors.AsType[*rule.Unsupported](err); !ok || u.Hint == "" {
			t.Errorf("%d DoRA adapters: %v", len(adapters), err)
		}
	}
}

// TestOddScaling: a negative alpha stays, and so does a magnitude beside an
// alpha of 0.
func TestOddScaling(t *testing.T) {
	a := makeAdapter(81, dtype.F32, spec{name: "q", out: 20, in: 20, rank: 4, alpha: -8}, spec{name: "zero", out: 20, in: 20, rank: 4, dora: true})
	out, _, err := Rerank(context.Background(), a, lowrank.Rules{Rule: lowrank.Fixed(2)}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	q, zero := find(out, "q"), find(out, "zero")
	if q.Scaling() != -2 || zero.Magnitude == nil || lowrank.RoughNorm([]lowrank.Term{termOf(zero)}) != 0 {
		t.Errorf("scaling %v, magnitude %v", q.Scaling(), zero.Magnitude)
	}
	want := deltas(a.Modules[0])[0]
	var svd mat.SVD
	svd.Factorize(want, mat.SVDNone)
	tail := math.Hypot(svd.Values(nil)[2], svd.Values(nil)[3])
	want.Sub(want, deltas(q)[0])
	if off := mat.Norm(want, 2); math.Abs(off/tail-1) > 1e-5 {
		t.Errorf("error %v, want %v", off, tail)
	}
}

func termOf(m *adapter.Module) lowrank.Term {
	a, b, err := member{Module: m}.factors("")
	if err != nil {
		panic(err)
	}
	return lowrank.Term{Weight: 1, A: a, B: b}
}

// TestBiases: s·bias adds up as the deltas do; modules without one get zeros.
func TestBiases(t *testing.T) {
	x := makeAdapter(9, dtype.F32, spec{name: "q", out: 8, in: 6, rank: 2, alpha: 4, bias: true}, spec{name: "v", out: 8, in: 6, rank: 2, alpha: 4, bias: true})
	y := makeAdapter(10, dtype.F32, spec{name: "q", out: 8, in: 6, rank: 3, alpha: 6, bias: true}, spec{name: "k", out: 8, in: 6, rank: 2, alpha: 4})
	y.Modules[1].Bias = nil
	for _, method := range []Method{Sum, Cat, SVD} {
		out, report := compose(t, Options{Method: method}, Weighted{x, 2}, Weighted{y, -1})
		q := find(out, "q")
		bx, by := find(x, "q").Bias.Float64s(), find(y, "q").Bias.Float64s()
		for i, b := range q.Bias.Float64s() {
			want := 2*2*bx[i] - 2*by[i]
			if math.Abs(q.Scaling()*b-want) > 1e-6*math.Abs(want)+1e-7 {
				t.Errorf("%s: bias %d is %v, want %v", method, i, q.Scaling()*b, want)
			}
		}
		if k := find(out, "k"); k.Bias == nil || k.Bias.Float64s()[0] != 0 {
			t.Errorf("%s: a module without a bias among others: %v", method, k.Bias)
		}
		if w := report.Warnings; len(w) != 1 || !strings.Contains(w[0], "so 1 without one got zeros") {
			t.Errorf("%s: warnings %q", method, w)
		}
	}
	_, _, err := Compose(context.Background(), []Weighted{{x, 1}, {y, 1}}, Options{Method: TIES, Density: 0.5})
	if !errors.Is(err, rule.ErrUnsupported) {
		t.Errorf("ties of biases: %v", err)
	}
}

// TestNotFiniteReplacements are carried over, and it is said.
func TestNotFiniteReplacements(t *testing.T) {
	a := makeAdapter(24, dtype.F32, spec{name: "q", out: 8, in: 6, rank: 2, alpha: 4})
	bad := func(name string, x float64) adapter.Tensor {
		v := adapter.NewTensor(dtype.BF16, []int{1, 6}, []float64{1, x, 2, x, 3, 4})
		v.Name = name
		return v
	}
	a.Replacements = []adapter.Replacement{{Name: "score.weight", Value: bad("score", math.NaN())}, {Name: "head.weight", Value: bad("head", 0)}}
	a.Tokens = []adapter.TokenRows{{Path: "tok", Indices: []int{4}, Rows: bad("tok", math.Inf(-1))}}
	_, report := compose(t, Options{Method: Cat}, Weighted{a, 1})
	if w := strings.Join(report.Warnings, "\n"); len(report.Warnings) != 2 || !strings.Contains(w, `adapter: tensor "score": 2 of 6 values`) || !strings.Contains(w, `adapter: tensor "tok": 2 of 6 values`) {
		t.Errorf("warnings %q", report.Warnings)
	}
}

// TestTransposedFlags: adapters that differ in fan_in_fan_out are composed, and
// it is said.
func TestTransposedFlags(t *testing.T) {
	one := spec{name: "q", out: 8, in: 8, rank: 2, alpha: 4}
	x, y := makeAdapter(22, dtype.F32, one), makeAdapter(23, dtype.F32, one)
	if _, report := compose(t, Options{}, Weighted{x, 1}, Weighted{y, 1}); len(report.Warnings) != 0 {
		t.Errorf("warnings %q", report.Warnings)
	}
	x.FanInFanOut = true
	out, report := compose(t, Options{}, Weighted{x, 1}, Weighted{y, 1})
	if w := report.Warnings; !out.FanInFanOut || len(w) != 1 || !strings.Contains(w[0], "fan_in_fan_out") {
		t.Errorf("%v, warnings %q", out.FanInFanOut, w)
	}
}

func TestRefusals(t *testing.T) {
	one := spec{name: "q", out: 8, in: 6, rank: 2, alpha: 4}
	a := makeAdapter(11, dtype.F32, one)
	replaced := makeAdapter(12, dtype.F32, one)
	replaced.Replacements = []adapter.Replacement{{Name: "score.weight", Value: a.Modules[0].A}}
	other := makeAdapter(13, dtype.F32, one)
	other.Replacements = []adapter.Replacement{{Name: "score.weight", Value: a.Modules[0].B}}
	tokens := makeAdapter(14, dtype.F32, one)
	tokens.Tokens = []adapter.TokenRows{{Path: "tok", Rows: a.Modules[0].A}}
	larger := makeAdapter(15, dtype.F32, spec{name: "q", out: 8, in: 7, rank: 2, alpha: 4})
	elsewhere := makeAdapter(16, dtype.F32, one)
	elsewhere.Base = "org/other-model"
	pissa := makeAdapter(17, dtype.F32, one)
	pissa.Refusals = []*rule.Unsupported{{What: "pissa"}}
	nan := makeAdapter(18, dtype.F32, one)
	nan.Modules[0].A = adapter.NewTensor(dtype.F32, nan.Modules[0].A.Shape, append(make([]float64, 11), math.NaN()))
	deep := makeAdapter(19, dtype.F32, spec{name: "q", out: 8, in: 6, rank: 3, alpha: 4})
	biased := makeAdapter(20, dtype.F32, spec{name: "v", out: 8, in: 6, rank: 2, alpha: 4, bias: true})
	embedding := makeAdapter(21, dtype.F32, spec{name: "tok", kind: adapter.Embedding, out: 8, in: 6, rank: 2, alpha: 4})
	budget, _ := lowrank.ParseRule("budget=1MB")
	for name, c := range map[string]struct {
		options  Options
		adapters []Weighted
		want     string
	}{
		"replacement with a weight": {Options{}, []Weighted{{replaced, 0.5}, {a, 1}}, "score.weight"},
		"two replacements":          {Options{}, []Weighted{{replaced, 1}, {other, 1}}, "other values"},
		"two token rows":            {Options{}, []Weighted{{tokens, 1}, {tokens, 1}}, "token rows"},
		"shapes":                    {Options{}, []Weighted{{a, 1}, {larger, 1}}, "not for one base"},
		"bases":                     {Options{}, []Weighted{{a, 1}, {elsewhere, 1}}, "--any-base"},
		"mutated base":              {Options{}, []Weighted{{a, 1}, {pissa, 1}}, "pissa"},
		"not finite":                {Options{}, []Weighted{{a, 1}, {nan, 1}}, "AD017"},
		"no density":                {Options{Method: TIES}, []Weighted{{a, 1}, {a, 1}}, "density"},
		"no such rule":              {Options{Method: KnOTS, Dialect: Mergekit, Density: 1}, []Weighted{{a, 1}}, "knots of dialect mergekit"},
		"PEFT's ranks":              {Options{Method: Linear, Dialect: PEFT}, []Weighted{{a, 1}, {deep, 1}}, "rank 3"},
		"budget of elements":        {Options{Method: TIES, Density: 0.5, Rank: &lowrank.Rules{Rule: budget}}, []Weighted{{a, 1}}, "budget"},
		"auto of elements":          {Options{Method: TIES, Density: 0.5, Rank: &lowrank.Rules{Rule: lowrank.Auto()}}, []Weighted{{a, 1}}, "give a rank"},
		"a bias beside embeddings":  {Options{}, []Weighted{{biased, 1}, {embedding, 1}}, "lora_bias"},
		"glob":                      {Options{Skip: []string{"nothing"}}, []Weighted{{a, 1}}, "no module matches"},
		"weights":                   {Options{Modules: []ModuleWeights{{"z*", []float64{1}}}}, []Weighted{{a, 1}}, "no module matches"},
	} {
		_, _, err := Compose(context.Background(), c.adapters, c.options)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			if u, ok := errors.AsType[*rule.Unsupported](err); !ok || !strings.Contains(u.Hint, c.want) {
				t.Errorf("%s: %v, want %q", name, err, c.want)
			}
		}
	}
	if out, _ := compose(t, Options{Skip: []string{"score.*"}}, Weighted{replaced, 0.5}, Weighted{other, 1}); len(out.Replacements) != 0 {
		t.Error("a skipped replacement is there")
	}
	if out, _ := compose(t, Options{AnyBase: true}, Weighted{a, 1}, Weighted{elsewhere, 1}); out.Base != "base" {
		t.Errorf("base %q", out.Base)
	}
}

// TestBinding: digests of a base count more than its names, and go on.
func TestBinding(t *testing.T) {
	one := spec{name: "q", out: 8, in: 6, rank: 2, alpha: 4}
	bound := func(seed uint64, base string, digest byte) *adapter.Adapter {
		a := makeAdapter(seed, dtype.F32, one)
		a.Base = base
		a.Notes = &note.Notes{Base: []note.Weight{{Name: "q.weight", DType: dtype.F32, Shape: []int{8, 6}, Digest: note.Digest{digest}}}}
		return a
	}
	x, y, z := bound(71, "org/model", 1), bound(72, "a/copy/of/it", 1), bound(73, "org/model", 2)
	out, _ := compose(t, Options{}, Weighted{x, 1}, Weighted{y, 1})
	if !out.Bound() || out.Notes.Base[0].Digest != x.Notes.Base[0].Digest {
		t.Errorf("notes %+v", out.Notes)
	}
	_, _, err := Compose(context.Background(), []Weighted{{x, 1}, {z, 1}}, Options{AnyBase: true})
	if u, ok := errors.AsType[*rule.Unsupported](err); !ok || !strings.Contains(u.What, "q.weight") || u.Hint == "" {
		t.Errorf("adapters of two bases: %v", err)
	}
}

// TestModuleWeights: a weight for each module, and adapter.
func TestModuleWeights(t *testing.T) {
	w, err := ParseWeights([]byte("# layers\nlayers.0.* 0 1\n* 1 0.5 # rest\n"), 2)
	if err != nil {
		t.Fatal(err)
	}
	specs := []spec{{name: "layers.0.q", out: 8, in: 6, rank: 2, alpha: 2}, {name: "layers.1.q", out: 8, in: 6, rank: 2, alpha: 2}}
	x, y := makeAdapter(20, dtype.F32, specs...), makeAdapter(21, dtype.F32, specs...)
	out, _ := compose(t, Options{Modules: w}, Weighted{x, 1}, Weighted{y, 3})
	first, second := deltas(find(y, "layers.0.q"))[0], deltas(find(x, "layers.1.q"))[0]
	first.Scale(3, first)
	rest := deltas(find(y, "layers.1.q"))[0]
	rest.Scale(1.5, rest)
	second.Add(second, rest)
	near(t, "layer 0", deltas(find(out, "layers.0.q"))[0], first, inF32)
	near(t, "layer 1", deltas(find(out, "layers.1.q"))[0], second, inF32)
	for _, bad := range []string{"* 1", "* 1 x", "* 1 nan", "[ 1 2", "* 1 2 3"} {
		if _, err := ParseWeights([]byte(bad), 2); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
}

// TestWorkers: the same bytes for any number of goroutines.
func TestWorkers(t *testing.T) {
	x, y := pair()
	for _, o := range []Options{{}, {Method: TIES, Density: 0.4}, {Method: DARETIES, Dialect: Mergekit, Density: 0.6, Seed: 3}, {Method: CoreTIES, Density: 0.5}} {
		var first *adapter.Adapter
		for _, workers := range []int{1, 2, 7} {
			o.Workers = workers
			out, _ := compose(t, o, Weighted{x, 1}, Weighted{y, 0.5})
			if first == nil {
				first = out
			}
			for i, m := range out.Modules {
				if !sameTensor(m.A, first.Modules[i].A) || !sameTensor(m.B, first.Modules[i].B) {
					t.Errorf("%s: %s differs with %d workers", o.Method, m.Name(), workers)
				}
			}
		}
	}
}

func ExampleCompose() {
	style := makeAdapter(1, dtype.F32, spec{name: "layers.0.q_proj", out: 8, in: 8, rank: 2, alpha: 4})
	task := makeAdapter(2, dtype.F32, spec{name: "layers.0.q_proj", out: 8, in: 8, rank: 1, alpha: 1})
	sum, report, err := Compose(context.Background(), []Weighted{{style, 0.7}, {task, 1}}, Options{Method: Sum})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(sum.Modules[0].Rank, report.Error < 1e-6)
	// Output: 3 true
}
