package compose

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/rule"
)

// A wrapped is one of the wrappers that PEFT nests: its rank, and the sizes of
// the parameter.
type wrapped struct{ rank, out, in int }

// nestedAdapter has wrappers around parameters of one module, innermost first,
// as they are read: without names if there are several.
func nestedAdapter(seed uint64, params []string, scales []adapter.Scale, wrappers ...wrapped) *adapter.Adapter {
	r := rand.New(rand.NewPCG(seed, 2))
	a := &adapter.Adapter{Source: "nested", Dialect: "peft", Type: "LORA"}
	const experts = 3
	for i, w := range wrappers {
		m := &adapter.Module{Path: "mlp.experts", Multiplicity: 1, Rank: w.rank, Alpha: 4, Candidates: params, Depth: len(wrappers) - 1 - i, Scales: scales}
		if scales != nil {
			m.Rank, m.Alpha = scales[0].Rank, scales[0].Alpha
		}
		if len(params) == 1 {
			m.Param = params[0]
		}
		m.A, m.B = random(r, dtype.F64, experts*w.rank, w.in), random(r, dtype.F64, w.out, w.rank*experts)
		a.Modules = append(a.Modules, m)
	}
	return a
}

// TestNested composes adapters of parameters that PEFT nests without names:
// both, or one of them, of different ranks and alphas.
func TestNested(t *testing.T) {
	both := []string{"down_proj", "gate_up_proj"} // as in the config, whose order says nothing
	up, down := wrapped{2, 8, 5}, wrapped{2, 5, 4}
	scaled := []adapter.Scale{{Rank: 3, Alpha: 6}, {Rank: 2, Alpha: 1}}
	adapters := map[string]*adapter.Adapter{
		"both":   nestedAdapter(1, both, nil, up, down),
		"scaled": nestedAdapter(2, both, scaled, up, wrapped{3, 5, 4}),
		"up":     nestedAdapter(3, []string{"gate_up_proj"}, nil, up),
		"down":   nestedAdapter(4, []string{"down_proj"}, nil, down),
	}
	// named is what an adapter's modules are, said by hand.
	named := func(name string) map[string]*adapter.Module {
		a := adapters[name]
		switch name {
		case "up":
			return map[string]*adapter.Module{"gate_up_proj": a.Modules[0]}
		case "down":
			return map[string]*adapter.Module{"down_proj": a.Modules[0]}
		}
		return map[string]*adapter.Module{"gate_up_proj": a.Modules[0].As(1), "down_proj": a.Modules[1].As(0)}
	}
	for _, c := range []struct {
		names  []string
		depths map[string]int
	}{
		{[]string{"both", "both"}, map[string]int{"gate_up_proj": 1, "down_proj": 0}},
		{[]string{"both", "scaled"}, map[string]int{"gate_up_proj": 1, "down_proj": 0}},
		{[]string{"scaled"}, map[string]int{"gate_up_proj": 1, "down_proj": 0}},
		{[]string{"up", "down"}, map[string]int{"gate_up_proj": 1, "down_proj": 0}},
		{[]string{"scaled", "up"}, map[string]int{"gate_up_proj": 1, "down_proj": 0}},
		{[]string{"up", "up"}, map[string]int{"gate_up_proj": 0}},
	} {
		var list []Weighted
		want := map[string][]float64{}
		for _, name := range c.names {
			list = append(list, Weighted{adapters[name], 1})
			for param, m := range named(name) {
				at := 0
				for _, d := range deltas(m) {
					for _, x := range d.RawMatrix().Data {
						if at == len(want[param]) {
							want[param] = append(want[param], 0)
						}
						want[param][at] += x
						at++
					}
				}
			}
		}
		out, _, err := Compose(context.Background(), list, Options{})
		if err != nil {
			t.Fatalf("%v: %v", c.names, err)
		}
		if len(out.Modules) != len(c.depths) {
			t.Fatalf("%v: %d modules", c.names, len(out.Modules))
		}
		for _, m := range out.Modules {
			if depth, ok := c.depths[m.Param]; !ok || depth != m.Depth || len(m.Candidates) > 1 {
				t.Errorf("%v: parameter %q at depth %d, want %v", c.names, m.Param, m.Depth, c.depths)
			}
			at := 0
			for _, d := range deltas(m) {
				for _, x := range d.RawMatrix().Data {
					if diff := x - want[m.Param][at]; diff > 1e-12 || diff < -1e-12 {
						t.Fatalf("%v: %q: element %d is %v, want %v", c.names, m.Param, at, x, want[m.Param][at])
					}
					at++
				}
			}
		}
	}
}

// TestNestedUnknown composes parameters whose order nobody knows.
func TestNestedUnknown(t *testing.T) {
	params := []string{"first", "second"}
	a := nestedAdapter(1, params, nil, wrapped{2, 8, 5}, wrapped{2, 5, 4})
	b := nestedAdapter(2, params, nil, wrapped{2, 8, 5}, wrapped{2, 5, 4})
	out, _, err := Compose(context.Background(), []Weighted{{a, 1}, {b, 1}}, Options{Method: Cat})
	if err != nil || len(out.Modules) != 2 || out.Modules[0].Depth+out.Modules[1].Depth != 1 || len(out.Modules[0].Candidates) != 2 {
		t.Errorf("equal structure: %v, %v", out, err)
	}
	scales := []adapter.Scale{{Rank: 2, Alpha: 1}, {Rank: 3, Alpha: 1}}
	for name, list := range map[string][]Weighted{
		"several ranks": {{nestedAdapter(3, params, scales, wrapped{2, 8, 5}, wrapped{3, 5, 4}), 1}},
		"one more":      {{a, 1}, {nestedAdapter(4, []string{"first"}, nil, wrapped{2, 8, 5}), 1}},
		"other ranks":   {{a, 1}, {nestedAdapter(5, params, nil, wrapped{2, 8, 5}, wrapped{1, 5, 4}), 1}}, // sums of rank 4 and 3
	} {
		if _, _, err := Compose(context.Background(), list, Options{}); !errors.Is(err, rule.ErrUnsupported) {
			t.Errorf("%s: got %v, want it refused", name, err)
		}
	}
}
