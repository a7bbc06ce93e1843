package compose

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/mat"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/dtype"
)

// A spec describes a module of a made-up adapter.
type spec struct {
	name     string
	kind     adapter.Kind
	out, in  int
	rank     int
	alpha    float64
	rs       bool
	experts  int
	dora     bool
	bias     bool
	multiple float64
}

// random makes a tensor of normal values.
func random(r *rand.Rand, dt dtype.DType, shape ...int) adapter.Tensor {
	n := 1
	for _, d := range shape {
		n *= d
	}
	x := make([]float64, n)
	for i := range x {
		x[i] = r.NormFloat64() * 0.3
	}
	return adapter.NewTensor(dt, shape, x)
}

// make returns the module of a spec.
func (s spec) module(r *rand.Rand, dt dtype.DType) *adapter.Module {
	n := max(1, s.experts)
	m := &adapter.Module{Path: s.name, Kind: s.kind, Rank: s.rank, Alpha: s.alpha, Multiplicity: max(1, s.multiple)}
	if s.rs {
		m.Rule = adapter.AlphaOverRootRank
	}
	switch s.kind {
	case adapter.Conv:
		m.A, m.B = random(r, dt, s.rank, s.in, 3, 1), random(r, dt, s.out, s.rank, 1, 1)
	default:
		m.A, m.B = random(r, dt, n*s.rank, s.in), random(r, dt, s.out, s.rank*n)
	}
	if s.experts > 0 {
		m.Param = "gate_up_proj"
	}
	if s.dora {
		t := random(r, dt, s.out)
		m.Magnitude = &t
	}
	if s.bias {
		t := random(r, dt, s.out)
		m.Bias = &t
	}
	return m
}

func makeAdapter(seed uint64, dt dtype.DType, specs ...spec) *adapter.Adapter {
	r := rand.New(rand.NewPCG(seed, 1))
	a := &adapter.Adapter{Source: "adapter", Dialect: "peft", Type: "LORA", Base: "base"}
	for _, s := range specs {
		a.Modules = append(a.Modules, s.module(r, dt))
	}
	return a
}

// deltas forms the dense delta of each expert of a module with gonum.
func deltas(m *adapter.Module) []*mat.Dense {
	n := m.A.Shape[0] / m.Rank
	in, out := m.A.Elements()/m.A.Shape[0], m.B.Shape[0]
	a, b := m.A.Float64s(), m.B.Float64s()
	list := make([]*mat.Dense, n)
	for e := range n {
		be := mat.NewDense(out, m.Rank, nil)
		for i := range out {
			for j := range m.Rank {
				be.Set(i, j, b[i*m.Rank*n+j*n+e])
			}
		}
		var d mat.Dense
		d.Mul(be, mat.NewDense(m.Rank, in, a[e*m.Rank*in:(e+1)*m.Rank*in]))
		d.Scale(m.Scaling(), &d)
		list[e] = &d
	}
	return list
}

// find returns the module of a name, or nil.
func find(a *adapter.Adapter, name string) *adapter.Module {
	for _, m := range a.Modules {
		if m.Name() == name {
			return m
		}
	}
	return nil
}

// near fails unless two dense matrices agree to a share of the norm of want.
func near(t *testing.T, what string, got, want *mat.Dense, share float64) {
	t.Helper()
	var d mat.Dense
	d.Sub(got, want)
	if off, norm := mat.Norm(&d, 2), mat.Norm(want, 2); off > share*norm || math.IsNaN(off) {
		t.Errorf("%s: off by %.3g of %.3g, at most %.1g of it is allowed", what, off, norm, share)
	}
}

// inF32 is what rounding two factors to float32 may change a delta by.
const inF32 = 4 * 0x1p-24

// all sorts of modules.
var everyKind = []spec{
	{name: "layers.0.q_proj", out: 24, in: 20, rank: 4, alpha: 8},
	{name: "layers.0.rs", out: 24, in: 20, rank: 3, alpha: 5, rs: true},
	{name: "layers.0.conv", kind: adapter.Conv, out: 12, in: 5, rank: 2, alpha: 3},
	{name: "embed_tokens", kind: adapter.Embedding, out: 16, in: 40, rank: 4, alpha: 2},
	{name: "experts", kind: adapter.Stack, out: 14, in: 10, rank: 2, alpha: 4, experts: 3},
	{name: "attn.out_proj", out: 9, in: 9, rank: 3, alpha: 3, multiple: 2},
}

func composeAll(adapters []Weighted, o Options) (*adapter.Adapter, *Report, error) {
	return Compose(context.Background(), adapters, o)
}
