package compose

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"gonum.org/v1/gonum/mat"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/internal/lowrank"
	"github.com/loratool/loratool/internal/philox"
)

// The references of this file follow the papers and sources of the dialects by
// sorting whole arrays; they share no code with the package but the random
// numbers.

// threshold returns the k-th largest magnitude.
func threshold(x []float64, density float64) float64 {
	k := int(density * float64(len(x)))
	if k == 0 {
		return math.Inf(1)
	}
	sorted := slices.Clone(x)
	for i, v := range sorted {
		sorted[i] = math.Abs(v)
	}
	slices.Sort(sorted)
	return sorted[len(sorted)-k]
}

func trim(x []float64, limit float64) []float64 {
	out := slices.Clone(x)
	for i, v := range out {
		if math.Abs(v) < limit {
			out[i] = 0
		}
	}
	return out
}

// drop is DARE: what survives is scaled by 1/density, or with l1 to the sum of
// magnitudes before.
func drop(x []float64, seed uint64, by, expert int, name string, density float64, l1 bool) []float64 {
	key := philox.NewKey("loratool dare 1", seed+uint64(by)<<32+uint64(expert), name)
	out := make([]float64, len(x))
	before, after := 0.0, 0.0
	for i, v := range x {
		before += math.Abs(v)
		if float64(key.Word(uint64(i)))/(1<<32) < density {
			out[i] = v
			after += math.Abs(v)
		}
	}
	scale := 1 / density
	if l1 {
		scale = before / after
	}
	for i := range out {
		out[i] *= scale
	}
	return out
}

func sign(x float64) float64 {
	switch {
	case x > 0:
		return 1
	case x < 0:
		return -1
	}
	return 0
}

// ties elects signs and merges: dialect paper, peft or mergekit (normalized or
// not).
func ties(d [][]float64, w []float64, dialect string) []float64 {
	out := make([]float64, len(d[0]))
	for j := range out {
		vote := 0.0
		for i := range d {
			if dialect == "peft" {
				vote += d[i][j]
			} else {
				vote += w[i] * d[i][j]
			}
		}
		elected := 1.0
		if vote < 0 {
			elected = -1
		}
		sum, weights, count := 0.0, 0.0, 0.0
		for i := range d {
			s := sign(w[i] * d[i][j])
			if dialect == "peft" {
				s = sign(d[i][j])
			}
			if s == elected {
				sum += w[i] * d[i][j]
				weights += w[i]
				count++
			}
		}
		switch {
		case dialect == "mergekit sum":
			out[j] = sum
		case dialect == "mergekit" && weights != 0:
			out[j] = sum / weights
		case count > 0 && dialect != "mergekit":
			out[j] = sum / count
		}
	}
	return out
}

func linear(d [][]float64, w []float64) []float64 {
	out := make([]float64, len(d[0]))
	for j := range out {
		for i := range d {
			out[j] += w[i] * d[i][j]
		}
	}
	return out
}

// threeAdapters have the same targets; the last lacks one of them.
func threeAdapters() []Weighted {
	specs := []spec{
		{name: "a", out: 18, in: 14, rank: 3, alpha: 6},
		{name: "b", out: 10, in: 22, rank: 3, alpha: 3},
		{name: "experts", kind: adapter.Stack, out: 8, in: 6, rank: 3, alpha: 4, experts: 2},
	}
	return []Weighted{
		{makeAdapter(31, dtype.F32, specs...), 0.9}, {makeAdapter(32, dtype.F32, specs...), -0.4}, {makeAdapter(33, dtype.F32, specs[0], specs[2]), 1.2},
	}
}

// TestElementwise holds every rule on deltas against its reference, at full
// rank.
func TestElementwise(t *testing.T) {
	const seed = 5
	adapters := threeAdapters()
	full := &lowrank.Rules{Rule: lowrank.Fixed(1000)}
	for _, density := range []float64{1, 0.55, 0.2, 0.001} {
		global := make([]float64, len(adapters))
		for i, w := range adapters {
			var every []float64
			for _, m := range w.Modules {
				for _, d := range deltas(m) {
					every = append(every, d.RawMatrix().Data...)
				}
			}
			global[i] = threshold(every, density)
		}
		top := func(i int, x []float64) []float64 { return trim(x, threshold(x, density)) }
		for _, c := range []struct {
			dialect Dialect
			method  Method
			keep    func(i int, x []float64, name string, expert int) []float64
			merge   func(d [][]float64, w []float64) []float64
		}{
			{Paper, TIES, func(i int, x []float64, _ string, _ int) []float64 { return trim(x, global[i]) }, paperTIES},
			{Paper, DARELinear, func(i int, x []float64, n string, e int) []float64 { return drop(x, seed, i, e, n, density, false) }, linear},
			{Paper, DARETIES, func(i int, x []float64, n string, e int) []float64 { return drop(x, seed, i, e, n, density, false) }, paperTIES},
			{Paper, MagnitudePrune, func(i int, x []float64, _ string, _ int) []float64 { return top(i, x) }, linear},
			{PEFT, TIESSVD, func(i int, x []float64, _ string, _ int) []float64 { return top(i, x) }, peftTIES},
			{PEFT, DARELinearSVD, func(i int, x []float64, n string, e int) []float64 { return drop(x, seed, i, e, n, density, false) }, linear},
			{PEFT, DARETIESSVD, func(i int, x []float64, n string, e int) []float64 { return drop(x, seed, i, e, n, density, false) }, peftTIES},
			{PEFT, MagnitudePruneSVD, func(i int, x []float64, _ string, _ int) []float64 { return top(i, x) }, linear},
			{Mergekit, TIES, func(i int, x []float64, _ string, _ int) []float64 { return top(i, x) }, mergekitTIES},
			{Mergekit, DARELinear, func(i int, x []float64, n string, e int) []float64 { return drop(x, seed, i, e, n, density, true) }, linear},
			{Mergekit, DARETIES, func(i int, x []float64, n string, e int) []float64 { return drop(x, seed, i, e, n, density, true) }, mergekitAgreeing},
		} {
			if density < 0.1 && (c.method == DARELinear || c.method == DARETIES || c.method == DARELinearSVD || c.method == DARETIESSVD) {
				continue // of so few elements all are dropped
			}
			name := fmt.Sprintf("%s %s %v", c.dialect, c.method, density)
			out, _, err := composeAll(adapters, Options{Method: c.method, Dialect: c.dialect, Density: density, Seed: seed, Rank: full})
			if err != nil {
				if density > 0.01 {
					t.Errorf("%s: %v", name, err)
				}
				continue
			}
			checkElements(t, name, out, adapters, c.keep, c.merge)
		}
	}
}

func paperTIES(d [][]float64, w []float64) []float64        { return ties(d, w, "paper") }
func peftTIES(d [][]float64, w []float64) []float64         { return ties(d, w, "peft") }
func mergekitTIES(d [][]float64, w []float64) []float64     { return ties(d, w, "mergekit") }
func mergekitAgreeing(d [][]float64, w []float64) []float64 { return ties(d, w, "mergekit sum") }

func checkElements(t *testing.T, name string, out *adapter.Adapter, adapters []Weighted,
	keep func(i int, x []float64, name string, expert int) []float64, merge func(d [][]float64, w []float64) []float64) {
	t.Helper()
	for _, m := range adapters[0].Modules {
		for e, d := range deltas(m) {
			rows, cols := d.Dims()
			var parts [][]float64
			var weights []float64
			for i, a := range adapters {
				if f := find(a.Adapter, m.Name()); f != nil {
					parts = append(parts, keep(i, deltas(f)[e].RawMatrix().Data, m.Name(), e))
					weights = append(weights, a.Weight)
				}
			}
			want := mat.NewDense(rows, cols, merge(parts, weights))
			got := mat.NewDense(rows, cols, nil)
			if f := find(out, m.Name()); f != nil {
				got = deltas(f)[e]
			}
			near(t, fmt.Sprintf("%s %s %d", name, m.Name(), e), got, want, 2*inF32)
		}
	}
}

// TestFactorwise holds PEFT's rules on factors against merge_utils.py on A and
// B by themselves.
func TestFactorwise(t *testing.T) {
	const seed, density = 9, 0.6
	adapters := threeAdapters()
	for _, c := range []struct {
		method Method
		keep   func(i int, x []float64, name string) []float64
		merge  func(d [][]float64, w []float64) []float64
	}{
		{Linear, func(_ int, x []float64, _ string) []float64 { return x }, linear},
		{TIES, func(_ int, x []float64, _ string) []float64 { return trim(x, threshold(x, density)) }, peftTIES},
		{MagnitudePrune, func(_ int, x []float64, _ string) []float64 { return trim(x, threshold(x, density)) }, linear},
		{DARELinear, func(i int, x []float64, n string) []float64 { return drop(x, seed, i, 0, n, density, false) }, linear},
		{DARETIES, func(i int, x []float64, n string) []float64 { return drop(x, seed, i, 0, n, density, false) }, peftTIES},
	} {
		out, report := compose(t, Options{Method: c.method, Dialect: PEFT, Density: density, Seed: seed}, adapters...)
		if len(report.Warnings) == 0 || report.Error < 0.1 {
			t.Errorf("%s: cross terms of %v are not reported: %v", c.method, report.Error, report.Warnings)
		}
		for _, m := range adapters[0].Modules {
			var a, b [][]float64
			var wa, wb []float64
			for i, w := range adapters {
				if f := find(w.Adapter, m.Name()); f != nil {
					a = append(a, c.keep(i, f.A.Float64s(), m.Name()+".lora_A"))
					b = append(b, c.keep(i, f.B.Float64s(), m.Name()+".lora_B"))
					s := w.Weight * f.Scaling()
					wb = append(wb, math.Sqrt(math.Abs(s)))
					wa = append(wa, math.Sqrt(math.Abs(s))*sign(s))
				}
			}
			got := find(out, m.Name())
			if got.Scaling() != 1 || got.Rank != m.Rank {
				t.Errorf("%s: scaling %v, rank %d", c.method, got.Scaling(), got.Rank)
			}
			for f, pair := range map[string][2][]float64{"A": {got.A.Float64s(), c.merge(a, wa)}, "B": {got.B.Float64s(), c.merge(b, wb)}} {
				for i := range pair[0] {
					if math.Abs(pair[0][i]-pair[1][i]) > 1e-6*(1+math.Abs(pair[1][i])) {
						t.Fatalf("%s %s: element %d of %s is %v, want %v", c.method, m.Name(), i, f, pair[0][i], pair[1][i])
					}
				}
			}
		}
	}
}

// TestBases holds KnOTS and core space against references on dense deltas,
// with the singular vectors of LAPACK.
func TestBases(t *testing.T) {
	adapters := threeAdapters()
	for _, density := range []float64{1, 0.4} {
		for _, method := range []Method{KnOTS, CoreTIES} {
			out, _, err := composeAll(adapters, Options{Method: method, Density: density})
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range adapters[0].Modules {
				for e := range deltas(m) {
					var dense []*mat.Dense
					var weights []float64
					var members []*adapter.Module
					for _, a := range adapters {
						if f := find(a.Adapter, m.Name()); f != nil {
							dense, weights, members = append(dense, deltas(f)[e]), append(weights, a.Weight), append(members, f)
						}
					}
					want := denseKnOTS(dense, weights, density)
					if method == CoreTIES {
						want = denseCore(members, e, dense, weights, density)
					}
					near(t, fmt.Sprintf("%s %v %s %d", method, density, m.Name(), e), deltas(find(out, m.Name()))[e], want, 1e-5)
				}
			}
		}
	}
}

// leftVectors returns the left singular vectors of m that are not noise.
func leftVectors(m mat.Matrix) *mat.Dense {
	var svd mat.SVD
	svd.Factorize(m, mat.SVDThin)
	var u mat.Dense
	svd.UTo(&u)
	s := svd.Values(nil)
	n := 0
	for n < len(s) && s[n] > 1e-10*s[0] {
		n++
	}
	rows, _ := u.Dims()
	return mat.DenseCopyOf(u.Slice(0, rows, 0, n))
}

func tiesOf(parts []*mat.Dense, w []float64, density float64) *mat.Dense {
	var d [][]float64
	for _, p := range parts {
		x := mat.DenseCopyOf(p).RawMatrix().Data
		d = append(d, trim(x, threshold(x, density)))
	}
	r, c := parts[0].Dims()
	return mat.NewDense(r, c, ties(d, w, "paper"))
}

func denseKnOTS(d []*mat.Dense, w []float64, density float64) *mat.Dense {
	wide := mat.DenseCopyOf(d[0])
	for _, x := range d[1:] {
		var next mat.Dense
		next.Augment(wide, x)
		wide = &next
	}
	u := leftVectors(wide)
	var parts []*mat.Dense
	for _, x := range d {
		var p mat.Dense
		p.Mul(u.T(), x)
		parts = append(parts, &p)
	}
	var out mat.Dense
	out.Mul(u, tiesOf(parts, w, density))
	return &out
}

func denseCore(members []*adapter.Module, e int, d []*mat.Dense, w []float64, density float64) *mat.Dense {
	var b, a *mat.Dense
	for _, m := range members {
		n := m.A.Shape[0] / m.Rank
		in, out := m.A.Elements()/m.A.Shape[0], m.B.Shape[0]
		av, bv := m.A.Float64s(), m.B.Float64s()
		be := mat.NewDense(out, m.Rank, nil)
		for i := range out {
			for j := range m.Rank {
				be.Set(i, j, bv[i*m.Rank*n+j*n+e])
			}
		}
		ae := mat.DenseCopyOf(mat.NewDense(m.Rank, in, av[e*m.Rank*in:(e+1)*m.Rank*in]).T())
		if b == nil {
			b, a = be, ae
			continue
		}
		var nb, na mat.Dense
		nb.Augment(b, be)
		na.Augment(a, ae)
		b, a = &nb, &na
	}
	u, v := leftVectors(b), leftVectors(a)
	var parts []*mat.Dense
	for _, x := range d {
		var p mat.Dense
		p.Product(u.T(), x, v)
		parts = append(parts, &p)
	}
	var out mat.Dense
	out.Product(u, tiesOf(parts, w, density), v.T())
	return &out
}

// TestOrder: in which order the adapters are named does not matter to rules in
// common bases.
func TestOrder(t *testing.T) {
	adapters := threeAdapters()
	turned := []Weighted{adapters[0], adapters[2], adapters[1]}
	for _, method := range []Method{KnOTS, CoreTIES, Sum, TIES} {
		x, _, err := composeAll(adapters, Options{Method: method, Density: 0.5})
		if err != nil {
			t.Fatal(err)
		}
		y, _, err := composeAll(turned, Options{Method: method, Density: 0.5})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range x.Modules {
			for e, d := range deltas(m) {
				near(t, string(method)+" "+m.Name(), deltas(find(y, m.Name()))[e], d, 1e-5)
			}
		}
	}
}

// TestLeading holds the leading part of a large composed delta against its
// full decomposition.
func TestLeading(t *testing.T) {
	size := spec{name: "q", out: smallSide + 60, in: smallSide + 20, rank: 8, alpha: 8}
	adapters := []Weighted{{makeAdapter(41, dtype.F32, size), 1}, {makeAdapter(42, dtype.F32, size), 1}}
	for _, rule := range []string{"8", "24", "energy=0.5", "error=0.6"} {
		r, err := lowrank.ParseRule(rule)
		if err != nil {
			t.Fatal(err)
		}
		out, report, err := composeAll(adapters, Options{Method: TIES, Density: 0.5, Rank: &lowrank.Rules{Rule: r}})
		if err != nil {
			t.Fatal(err)
		}
		var parts [][]float64
		for _, a := range adapters {
			x := deltas(a.Modules[0])[0].RawMatrix().Data
			parts = append(parts, trim(x, threshold(x, 0.5)))
		}
		want := mat.NewDense(size.out, size.in, paperTIES(parts, []float64{1, 1}))
		var svd mat.SVD
		svd.Factorize(want, mat.SVDNone)
		sigma, rank, tail := svd.Values(nil), out.Modules[0].Rank, 0.0
		for _, s := range sigma[rank:] {
			tail += s * s
		}
		var rest mat.Dense
		rest.Sub(want, deltas(out.Modules[0])[0])
		off, best, norm := mat.Norm(&rest, 2), math.Sqrt(tail), mat.Norm(want, 2)
		if off > 1.005*best || math.Abs(report.Error-off/norm) > 1e-5 {
			t.Errorf("%s: rank %d, error %v (best %v), reported %v", rule, rank, off/norm, best/norm, report.Error)
		}
		if n, fixed := r.Fixed(); fixed && rank != n {
			t.Errorf("rank %d, want %d", rank, n)
		}
	}
}
