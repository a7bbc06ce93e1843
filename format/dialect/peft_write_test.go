package dialect

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/format/safetensors"
	"github.com/loratool/loratool/internal/strictjson"
)

// factors makes a module whose values tell the modules apart.
func factors(path string, rank, in, out int) *adapter.Module {
	a, b := make([]float64, rank*in), make([]float64, out*rank)
	for i := range a {
		a[i] = float64(i%7) + float64(len(path))
	}
	for i := range b {
		b[i] = float64(i%5) - 2
	}
	return &adapter.Module{Path: path, Rank: rank, Alpha: 16, Multiplicity: 1,
		A: adapter.NewTensor(dtype.F32, []int{rank, in}, a), B: adapter.NewTensor(dtype.BF16, []int{out, rank}, b)}
}

// vector makes a tensor of one dimension.
func vector(n int) *adapter.Tensor {
	t := adapter.NewTensor(dtype.F32, []int{n}, make([]float32, n))
	return &t
}

// rewrite writes an adapter and reads it back.
func rewrite(t *testing.T, a *adapter.Adapter, o WriteOptions) *File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "adapter")
	if err := WritePEFT(path, a, o); err != nil {
		t.Fatal(err)
	}
	f, err := OpenPEFT(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func sameTensor(x, y adapter.Tensor) bool {
	return x.DType == y.DType && slices.Equal(x.Shape, y.Shape) && string(x.Bytes) == string(y.Bytes)
}

func sameOptional(x, y *adapter.Tensor) bool {
	return x == nil && y == nil || x != nil && y != nil && sameTensor(*x, *y)
}

// checkSame compares two adapters module by module.
func checkSame(t *testing.T, got, want *adapter.Adapter) {
	t.Helper()
	if len(got.Modules) != len(want.Modules) || len(got.Replacements) != len(want.Replacements) || len(got.Tokens) != len(want.Tokens) {
		t.Fatalf("%d modules, %d replacements, %d token rows; want %d, %d, %d", len(got.Modules), len(got.Replacements), len(got.Tokens),
			len(want.Modules), len(want.Replacements), len(want.Tokens))
	}
	byName := map[string]*adapter.Module{}
	for _, m := range got.Modules {
		byName[peftModuleKey(m)] = m
	}
	for _, m := range want.Modules {
		g := byName[peftModuleKey(m)]
		if g == nil {
			t.Fatalf("module %q is lost", m.Path)
		}
		if !sameTensor(g.A, m.A) || !sameTensor(g.B, m.B) || !sameOptional(g.Magnitude, m.Magnitude) || !sameOptional(g.Bias, m.Bias) {
			t.Errorf("module %q has other tensors", m.Path)
		}
		if g.Scaling() != m.Scaling() || g.Rank != m.Rank || g.Kind != m.Kind || g.Param != m.Param {
			t.Errorf("module %q: scaling %g, rank %d, %v %q; want %g, %d, %v %q", m.Path, g.Scaling(), g.Rank, g.Kind, g.Param, m.Scaling(), m.Rank, m.Kind, m.Param)
		}
	}
	for i, r := range want.Replacements {
		if g := got.Replacements[i]; g.Name != r.Name || g.Reason != r.Reason || !sameTensor(g.Value, r.Value) {
			t.Errorf("replacement %q (%s) became %q (%s)", r.Name, r.Reason, g.Name, g.Reason)
		}
	}
	for i, r := range want.Tokens {
		if g := got.Tokens[i]; g.Path != r.Path || !slices.Equal(g.Indices, r.Indices) || !sameTensor(g.Rows, r.Rows) {
			t.Errorf("token rows of %q became those of %q", r.Path, g.Path)
		}
	}
}

func TestWritePEFT(t *testing.T) {
	with := func(m *adapter.Module, change func(*adapter.Module)) *adapter.Module { change(m); return m }
	for name, a := range map[string]*adapter.Adapter{
		"plain":  {Modules: []*adapter.Module{factors("model.layers.0.q_proj", 4, 6, 5), factors("model.layers.1.q_proj", 4, 6, 5)}},
		"bottom": {Modules: []*adapter.Module{factors("0", 4, 6, 5), factors("10", 2, 6, 5), factors("a.0", 2, 3, 5)}},
		"ranks and alphas": {Modules: []*adapter.Module{factors("a.0.q", 4, 6, 5), factors("a.1.q", 2, 6, 5), factors("b.q", 3, 6, 5),
			with(factors("a.0.v", 4, 6, 5), func(m *adapter.Module) { m.Alpha = 2.5 }), with(factors("a.1.v", 4, 6, 5), func(m *adapter.Module) { m.Alpha = 2.5 })}},
		"rsLoRA":             {Modules: []*adapter.Module{with(factors("a", 3, 6, 5), func(m *adapter.Module) { m.Rule = adapter.AlphaOverRootRank })}},
		"DoRA":               {Modules: []*adapter.Module{with(factors("a", 3, 6, 5), func(m *adapter.Module) { m.Magnitude = vector(5) })}},
		"bias of B":          {Modules: []*adapter.Module{with(factors("a", 3, 6, 5), func(m *adapter.Module) { m.Bias = vector(5) })}},
		"embedding":          {Modules: []*adapter.Module{with(factors("wte", 3, 6, 5), func(m *adapter.Module) { m.Kind = adapter.Embedding })}},
		"attention of torch": {Modules: []*adapter.Module{factors("attn", 3, 6, 5), with(factors("attn.out_proj", 3, 6, 5), func(m *adapter.Module) { m.Multiplicity = 2 })}},
		"parameter":          {Modules: []*adapter.Module{with(factors("a.experts", 3, 6, 5), func(m *adapter.Module) { m.Param, m.Candidates = "down_proj", []string{"down_proj"} })}},
		"replacements": {Modules: []*adapter.Module{factors("a.q", 3, 6, 5)}, Replacements: []adapter.Replacement{
			{Name: "a.q.bias", Reason: "bias", Value: *vector(5)}, {Name: "norm.weight", Reason: "modules_to_save", Value: *vector(6)}, {Name: "score.weight", Reason: "modules_to_save", Value: *vector(7)}}},
		"tokens": {Modules: []*adapter.Module{factors("a.q", 3, 6, 5)}, Tokens: []adapter.TokenRows{
			{Path: "model.embed_tokens", Indices: []int{7, 3}, Rows: adapter.NewTensor(dtype.F32, []int{2, 3}, make([]float32, 6))}}},
	} {
		t.Run(name, func(t *testing.T) { checkSame(t, rewrite(t, a, WriteOptions{}).Adapter, a) })
	}
}

// TestWritePEFTMixedScaling writes α/√r beside α/r: the scalings stay, to one
// unit in the last place, which float64 division can miss.
func TestWritePEFTMixedScaling(t *testing.T) {
	a := &adapter.Adapter{}
	for r := 1; r < 200; r++ {
		m := factors(strings.Repeat("x", r), r, 2, 3)
		m.Rule = adapter.ScalingRule(r % 2)
		a.Modules = append(a.Modules, m)
	}
	for i, m := range rewrite(t, a, WriteOptions{}).Modules {
		want := a.Modules[i].Scaling()
		if got := m.Scaling(); math.Abs(got-want) > want*0x1p-52 {
			t.Errorf("rank %d: scaling %g, want %g", m.Rank, got, want)
		}
	}
}

// TestWritePEFTKeeps holds that fields of a config stay: unknown ones, and
// ranks, patterns and targets that still say what the modules have.
func TestWritePEFTKeeps(t *testing.T) {
	const config = `{"peft_type":"LORA","r":4,"lora_alpha":16,"rank_pattern":{"layers.1.*":2},"target_modules":["q"],` +
		`"future":{"x":[1,2.50]},"task_type":"CAUSAL_LM","init_lora_weights":"gaussian","lora_dropout":0.1,"layers_to_transform":[0,1]}`
	a := &adapter.Adapter{Modules: []*adapter.Module{factors("m.layers.0.q", 4, 6, 5), factors("m.layers.1.q", 2, 6, 5)}}
	f := rewrite(t, a, WriteOptions{Config: []byte(config), KeepTargets: true})
	old, err := strictjson.Decode([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	now, err := strictjson.Decode(f.Config)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range old.Members {
		if v, _ := now.Lookup(m.Name); string(v.Append(nil)) != string(m.Value.Append(nil)) {
			t.Errorf("%s: %s became %s", m.Name, m.Value.Append(nil), v.Append(nil))
		}
	}
	a.Modules[0] = factors("m.layers.0.q", 3, 6, 5)
	f = rewrite(t, a, WriteOptions{Config: []byte(config)})
	checkSame(t, f.Adapter, a)
	if now, err = strictjson.Decode(f.Config); err != nil {
		t.Fatal(err)
	}
	if v, _ := now.Lookup("layers_to_transform"); v.Kind != strictjson.Null {
		t.Errorf("layers_to_transform %s narrows new targets", v.Append(nil))
	}
	if v, _ := now.Lookup("target_modules"); string(v.Append(nil)) != `["q"]` {
		t.Errorf("target_modules %s", v.Append(nil))
	}
}

// TestWritePEFTSaved: modules_to_save names what is in the file.
func TestWritePEFTSaved(t *testing.T) {
	const config = `{"peft_type":"LORA","r":3,"lora_alpha":3,"target_modules":["q"],"modules_to_save":["lm_head","norm","classifier","score"]}`
	saved := func(names ...string) string {
		a := &adapter.Adapter{Modules: []*adapter.Module{factors("q", 3, 6, 5)}}
		for _, n := range names {
			a.Replacements = append(a.Replacements, adapter.Replacement{Name: n, Reason: "modules_to_save", Value: *vector(5)})
		}
		return rewrite(t, a, WriteOptions{Config: []byte(config), KeepTargets: true}).Field("modules_to_save")
	}
	for want, names := range map[string][]string{
		`null`:                                   nil,
		`["norm"]`:                               {"model.norm.weight"},
		`["lm_head","classifier","score"]`:       {"lm_head.weight", "score.weight"},
		`["norm","classifier","score","extras"]`: {"norm.weight", "classifier.weight", "extras.weight"},
	} {
		if got := saved(names...); got != want {
			t.Errorf("%q: modules_to_save %s, want %s", names, got, want)
		}
	}
}

func TestWritePEFTRefuses(t *testing.T) {
	mixed := factors("a", 3, 6, 5)
	mixed.Magnitude = vector(5)
	a := &adapter.Adapter{Modules: []*adapter.Module{mixed, factors("b", 3, 6, 5)}}
	path := filepath.Join(t.TempDir(), "adapter")
	if err := WritePEFT(path, a, WriteOptions{}); !errors.Is(err, rule.ErrUnsupported) {
		t.Errorf("a magnitude for one of two modules gives %v", err)
	}
	twice := &adapter.Adapter{Modules: []*adapter.Module{factors("a", 3, 6, 5), factors("a", 3, 6, 5)}}
	if err := WritePEFT(path, twice, WriteOptions{}); err == nil {
		t.Error("one name for two modules is written")
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("a refused adapter leaves something: %v", err)
	}
}

func TestSuffixes(t *testing.T) {
	for _, c := range []struct{ names, want []string }{
		{[]string{"l.0.q", "l.1.q", "l.0.v", "l.1.v"}, []string{"q", "v"}},
		{[]string{"l.0.q", "l.1.q", "l.1.v"}, []string{"l.1.v", "q"}},
		{[]string{"l.0.q", "l.1.q", "lm_head"}, []string{"lm_head", "q"}},
		{[]string{"seq.0", "seq.1"}, []string{"seq.0", "seq.1"}},
		{[]string{"e.0.q", "e.1.q", "d.0.q"}, []string{"d.0.q", "e.0.q", "e.1.q"}},
		{[]string{"l.0.experts.1.q"}, []string{"l.0.experts.1.q"}},
		{nil, nil},
	} {
		if got := suffixes(c.names, 1, nil); !slices.Equal(got, c.want) {
			t.Errorf("%q gives %q, want %q", c.names, got, c.want)
		}
	}
}

// An adapter whose file was cut off within its last page, where it reads as
// zeros, is not written.
func TestWritePEFTChanged(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "adapter")
	if err := WritePEFT(path, &adapter.Adapter{Modules: []*adapter.Module{factors("a", 3, 6, 5)}}, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	f, err := OpenPEFT(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Truncate(f.Weights.Path(), f.Weights.Size()-4); err != nil {
		t.Fatal(err)
	}
	for _, o := range []WriteOptions{{}, {Same: f}} {
		if err := WritePEFT(filepath.Join(dir, "out"), f.Adapter, o); !errors.Is(err, safetensors.ErrChanged) {
			t.Errorf("%v", err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 1 {
		t.Errorf("left %q", left)
	}
}
