package adapter

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/rule"
)

// fakeBase is a base of names and shapes.
type fakeBase struct {
	shapes map[string][]int
	model  string
}

func (b fakeBase) Shape(name string) ([]int, dtype.DType, bool) {
	s, ok := b.shapes[name]
	return s, dtype.F32, ok
}
func (b fakeBase) Names() []string                  { return slices.Sorted(maps.Keys(b.shapes)) }
func (b fakeBase) ModelType() string                { return b.model }
func (b fakeBase) Architectures() []string          { return nil }
func (b fakeBase) Setting(...string) (string, bool) { return "", false }
func (b fakeBase) TieWordEmbeddings() (bool, bool)  { return false, false }

func module(path string, kind Kind, rank int, a, b []int) *Module {
	return &Module{Path: path, Kind: kind, Rank: rank, Alpha: 1, Multiplicity: 1,
		A: Tensor{Name: path + ".A", DType: dtype.F32, Shape: a}, B: Tensor{Name: path + ".B", DType: dtype.F32, Shape: b}}
}

func TestFit(t *testing.T) {
	param := func(m *Module, p string) *Module { m.Param = p; return m }
	for _, c := range []struct {
		name       string
		m          *Module
		tensor     string
		shape      []int
		model      string
		writer     string
		flag       bool
		transposed bool
		pieces     int // 0: refused
	}{
		{"linear", module("x", Linear, 2, []int{2, 3}, []int{4, 2}), "x.weight", []int{4, 3}, "", "", false, false, 1},
		{"Conv1D by shape", module("x", Linear, 2, []int{2, 3}, []int{4, 2}), "x.weight", []int{3, 4}, "", "", false, true, 1},
		{"square, no config", module("x.c_proj", Linear, 2, []int{2, 4}, []int{4, 2}), "x.c_proj.weight", []int{4, 4}, "", "", false, false, 1},
		{"square, flag", module("x.c_proj", Linear, 2, []int{2, 4}, []int{4, 2}), "x.c_proj.weight", []int{4, 4}, "", "", true, true, 1},
		{"square, gpt2 despite the flag", module("x.c_proj", Linear, 2, []int{2, 4}, []int{4, 2}), "x.c_proj.weight", []int{4, 4}, "gpt2", "", false, true, 1},
		{"square, llama despite the flag", module("x.q_proj", Linear, 2, []int{2, 4}, []int{4, 2}), "x.q_proj.weight", []int{4, 4}, "llama", "", true, false, 1},
		{"wrong base", module("x", Linear, 2, []int{2, 3}, []int{4, 2}), "x.weight", []int{5, 3}, "", "", false, false, 0},
		{"embedding", module("e", Embedding, 2, []int{2, 9}, []int{4, 2}), "e.weight", []int{9, 4}, "", "", false, true, 1},
		{"conv", module("c", Conv, 2, []int{2, 3, 5, 5}, []int{4, 2, 1, 1}), "c.weight", []int{4, 3, 5, 5}, "", "", false, false, 1},
		{"grouped conv", module("c", Conv, 2, []int{2, 4, 3}, []int{4, 2, 1}), "c.weight", []int{4, 1, 3}, "", "", false, false, 0},
		{"attention in_proj", module("a", Linear, 2, []int{2, 4}, []int{12, 2}), "a.in_proj_weight", []int{12, 4}, "", "", false, false, 1},
		{"experts", param(module("x", Linear, 2, []int{6, 4}, []int{5, 6}), "w"), "x.w", []int{3, 5, 4}, "", "0.21.2", false, false, 3},
		{"experts transposed", param(module("x", Linear, 2, []int{6, 4}, []int{5, 6}), "w"), "x.w", []int{3, 4, 5}, "", "0.21.2", false, true, 3},
		{"square experts", param(module("x", Linear, 2, []int{6, 4}, []int{4, 6}), "w"), "x.w", []int{3, 4, 4}, "qwen3_moe", "0.21.2", false, false, 3},
		{"square experts of GPT-OSS", param(module("x", Linear, 2, []int{6, 4}, []int{4, 6}), "w"), "x.w", []int{3, 4, 4}, "gpt_oss", "0.21.2", false, true, 3},
		{"square experts, old PEFT", param(module("x", Linear, 2, []int{6, 4}, []int{4, 6}), "w"), "x.w", []int{3, 4, 4}, "", "0.17.1", false, true, 3},
		{"square experts, unknown", param(module("x", Linear, 2, []int{6, 4}, []int{4, 6}), "w"), "x.w", []int{3, 4, 4}, "", "", false, false, 0},
		{"experts of another number", param(module("x", Linear, 2, []int{6, 4}, []int{5, 6}), "w"), "x.w", []int{2, 5, 4}, "", "0.21.2", false, false, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := &Adapter{Source: "a", Writer: c.writer, FanInFanOut: c.flag, Modules: []*Module{c.m}}
			r, err := a.Resolve(fakeBase{map[string][]int{c.tensor: c.shape}, c.model})
			if c.pieces == 0 {
				if _, ok := errors.AsType[*rule.Error](err); !ok {
					t.Fatalf("error %v, want one that cites a rule", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Missing) != 0 || len(r.Updates) != 1 || len(r.Updates[0].Pieces) != c.pieces {
				t.Fatalf("resolution %+v", r)
			}
			for i, p := range r.Updates[0].Pieces {
				if p.Transposed != c.transposed || c.pieces > 1 && (p.Expert != i || p.Source != i) {
					t.Errorf("piece %+v, want transposed %v", p, c.transposed)
				}
			}
		})
	}
}

func TestNestedParameters(t *testing.T) {
	base := fakeBase{map[string][]int{"x.gate_up_proj": {3, 8, 4}, "x.down_proj": {3, 4, 4}}, ""}
	inner, outer := module("x", Linear, 2, []int{6, 4}, []int{8, 6}), module("x", Linear, 2, []int{6, 4}, []int{4, 6})
	inner.Depth = 1
	for _, m := range []*Module{inner, outer} {
		m.Candidates = []string{"down_proj", "gate_up_proj"}
	}
	a := &Adapter{Writer: "0.17.0", Modules: []*Module{outer, inner}}
	r, err := a.Resolve(base)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range r.Updates {
		want := "x.gate_up_proj"
		if u.Module.Depth == 0 {
			want = "x.down_proj"
		}
		if u.Pieces[0].Tensor != want {
			t.Errorf("depth %d went to %s", u.Module.Depth, u.Pieces[0].Tensor)
		}
	}
	if len(r.Updates) != 2 || inner.Param != "" {
		t.Errorf("updates %+v; the module itself became %+v", r.Updates, inner)
	}
}

// TestBiasOfNoBias: where the base's layer has no bias, one of B is missing if
// it adds anything. Zeros, in whatever dtype and sign, do not.
func TestBiasOfNoBias(t *testing.T) {
	values := func(x float64) []float64 { return append(make([]float64, 1029), x) }
	for _, c := range []struct {
		dt   dtype.DType
		last float64
		lost int
	}{
		{dtype.F32, 0, 0}, {dtype.BF16, math.Copysign(0, -1), 0}, {dtype.F64, 0x1p-1074, 1}, {dtype.F16, -1, 1}, {dtype.F32, math.NaN(), 1},
	} {
		m := module("x", Linear, 2, []int{2, 3}, []int{1030, 2})
		bias := NewTensor(c.dt, []int{1030}, values(c.last))
		m.Bias = &bias
		r, err := (&Adapter{Modules: []*Module{m}}).Resolve(fakeBase{map[string][]int{"x.weight": {1030, 3}}, ""})
		if err != nil || len(r.Missing) != c.lost || len(r.Biases) != 0 || len(r.Updates) != 1 {
			t.Errorf("%v, last value %v: %+v, %v, want %d missing", c.dt, c.last, r, err, c.lost)
		}
	}
}

func TestPrefixes(t *testing.T) {
	m := module("bert.encoder.q", Linear, 1, []int{1, 2}, []int{2, 1})
	a := &Adapter{Modules: []*Module{m}}
	r, err := a.Resolve(fakeBase{map[string][]int{"encoder.q.weight": {2, 2}}, ""})
	if err != nil || len(r.Updates) != 1 || r.Updates[0].How == "" {
		t.Errorf("a base without the prefix: %+v, %v", r, err)
	}
	if r, err = a.Resolve(fakeBase{map[string][]int{"other.q.weight": {2, 2}}, ""}); err != nil || len(r.Missing) != 1 {
		t.Errorf("another base: %+v, %v", r, err)
	}
	both := fakeBase{map[string][]int{"encoder.q.weight": {2, 2}, "model.bert.encoder.q.weight": {2, 2}}, ""}
	if _, err = a.Resolve(both); err == nil {
		t.Error("two tensors fit, and one was taken")
	}
}

func ExampleAdapter_Resolve() {
	a := &Adapter{Modules: []*Module{module("layers.0.q_proj", Linear, 2, []int{2, 3}, []int{4, 2})}}
	r, err := a.Resolve(fakeBase{map[string][]int{"model.layers.0.q_proj.weight": {4, 3}}, "llama"})
	fmt.Println(r.Updates[0].Pieces[0].Tensor, r.Updates[0].How, err)
	// Output: model.layers.0.q_proj.weight prefix model <nil>
}
