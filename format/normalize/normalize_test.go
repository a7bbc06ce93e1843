package normalize_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/normalize"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/format/safetensors"
	"github.com/loratool/loratool/format/validate"
	"github.com/loratool/loratool/testdata/fixture"
)

// module makes a module of random values.
func module(path string, d dtype.DType, rank int, alpha float64, in, out int) *adapter.Module {
	r := rand.New(rand.NewPCG(uint64(len(path)), uint64(rank)))
	fill := func(shape ...int) adapter.Tensor {
		v := make([]float64, shape[0]*shape[1])
		for i := range v {
			v[i] = r.NormFloat64()
		}
		return adapter.NewTensor(d, shape, v)
	}
	return &adapter.Module{Path: path, Rank: rank, Alpha: alpha, Multiplicity: 1, A: fill(rank, in), B: fill(out, rank)}
}

func write(t testing.TB, a *adapter.Adapter) *dialect.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "adapter")
	if err := dialect.WritePEFT(path, a, dialect.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	f, err := dialect.OpenPEFT(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func profile(t testing.TB, name string) *validate.Profile {
	p, err := validate.ParseProfile(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// delta is ΔW in float64.
func delta(m *adapter.Module) []float64 {
	a, b, r := m.A.Float64s(), m.B.Float64s(), m.Rank
	out, in := m.B.Shape[0], m.A.Shape[1]
	w := make([]float64, out*in)
	for i := range out {
		for j := range in {
			for k := range r {
				w[i*in+j] += b[i*r+k] * a[k*in+j] * m.Scaling()
			}
		}
	}
	return w
}

// TestSameFunction normalizes adapters of mixed ranks, alphas and rules for
// every profile and compares the deltas, formed in full.
func TestSameFunction(t *testing.T) {
	for _, name := range []string{"vllm", "sglang", "lorax", "llamacpp", "mlx", "comfy", "peft"} {
		for _, d := range []dtype.DType{dtype.F32, dtype.BF16} {
			t.Run(name+" "+d.String(), func(t *testing.T) {
				a := &adapter.Adapter{Modules: []*adapter.Module{
					module("l.0.q", d, 4, 8, 6, 5), module("l.1.q", d, 4, 8, 6, 5), module("l.0.v", d, 2, 8, 6, 5), module("l.1.v", d, 3, 5, 6, 5)}}
				f := write(t, a)
				p := profile(t, name)
				out := filepath.Join(t.TempDir(), "out")
				r, err := normalize.Apply(context.Background(), out, f, p, normalize.Options{})
				if err != nil {
					t.Fatal(err)
				}
				g, err := dialect.OpenPEFT(out)
				if err != nil {
					t.Fatal(err)
				}
				defer g.Close()
				for i, m := range f.Modules {
					want, got := delta(m), delta(g.Modules[i])
					diff, size := 0.0, 0.0
					for k := range want {
						diff += (got[k] - want[k]) * (got[k] - want[k])
						size += want[k] * want[k]
					}
					e := math.Sqrt(diff / size)
					if e > r.Error*(1+1e-6)+1e-12 || e > r.Tolerance {
						t.Errorf("%s: error %g, the report says at most %g", m.Path, e, r.Error)
					}
				}
				if p.Broken(g, g.Adapter) != nil {
					t.Errorf("the output does not suit %s: %v", name, p.Broken(g, g.Adapter))
				}
			})
		}
	}
}

// TestUntouched: an adapter that suits a program keeps its factors bit by bit.
func TestUntouched(t *testing.T) {
	f := write(t, &adapter.Adapter{Modules: []*adapter.Module{module("l.0.q", dtype.BF16, 4, 8, 6, 5), module("l.1.q", dtype.BF16, 4, 8, 6, 5)}})
	out := filepath.Join(t.TempDir(), "out")
	r, err := normalize.Apply(context.Background(), out, f, profile(t, "vllm"), normalize.Options{})
	if err != nil || r.Error != 0 || r.Folded+r.Padded+r.Added != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	g, err := dialect.OpenPEFT(out)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	for i, m := range f.Modules {
		if string(g.Modules[i].B.Bytes) != string(m.B.Bytes) || g.Modules[i].Scaling() != m.Scaling() {
			t.Errorf("module %s changed", m.Path)
		}
	}
}

func TestGaps(t *testing.T) {
	f := write(t, &adapter.Adapter{Modules: []*adapter.Module{module("l.0.q", dtype.F32, 4, 8, 6, 5), module("l.2.q", dtype.F32, 4, 8, 6, 5)}})
	out := filepath.Join(t.TempDir(), "out")
	r, err := normalize.Apply(context.Background(), out, f, profile(t, "lorax"), normalize.Options{})
	if err != nil || r.Added != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	g, err := dialect.OpenPEFT(out)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	for _, x := range delta(g.Modules[1]) {
		if g.Modules[1].Path != "l.1.q" || x != 0 {
			t.Fatalf("added %s with %g", g.Modules[1].Path, x)
		}
	}
}

// TestRefused: what a program cannot carry is refused, and nothing is written.
func TestRefused(t *testing.T) {
	m := module("l.0.q", dtype.F32, 4, 8, 6, 5)
	v := adapter.NewTensor(dtype.F32, []int{5}, make([]float32, 5))
	m.Magnitude = &v
	f := write(t, &adapter.Adapter{Modules: []*adapter.Module{m}})
	for _, name := range []string{"vllm", "sglang", "lorax", "llamacpp", "comfy"} {
		out := filepath.Join(t.TempDir(), "out")
		_, err := normalize.Apply(context.Background(), out, f, profile(t, name), normalize.Options{})
		if u, ok := errors.AsType[*rule.Unsupported](err); !ok || u.Rule != "PF003" {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(out); err == nil {
			t.Errorf("%s: something was written", name)
		}
	}
	bf := write(t, &adapter.Adapter{Modules: []*adapter.Module{module("l.0.q", dtype.BF16, 4, 8, 6, 5), module("l.1.q", dtype.BF16, 4, 7, 6, 5)}})
	r, err := normalize.Apply(context.Background(), filepath.Join(t.TempDir(), "out"), bf, profile(t, "llamacpp"), normalize.Options{KeepDType: true})
	if err != nil || r.Error == 0 || r.Error > r.Tolerance {
		t.Errorf("with its dtype kept: %+v, %v", r, err)
	}
}

// TestSplit cuts a fused module and holds the stacked deltas of the parts
// against its own, bit by bit.
func TestSplit(t *testing.T) {
	whole := module("model.layers.0.self_attn.qkv_proj", dtype.F32, 4, 8, 6, 12)
	f := write(t, &adapter.Adapter{Modules: []*adapter.Module{whole}})
	var tensors []safetensors.NamedData
	for name, rows := range map[string]int{"q_proj": 6, "k_proj": 3, "v_proj": 3} {
		tensors = append(tensors, safetensors.NamedData{Name: "model.layers.0.self_attn." + name + ".weight", DType: dtype.F32, Shape: []int{rows, 6}, Data: make([]byte, 4*rows*6)})
	}
	base := fixture.Base(t, tensors...)
	out := filepath.Join(t.TempDir(), "out")
	r, err := normalize.Apply(context.Background(), out, f, profile(t, "vllm"), normalize.Options{Base: base})
	if err != nil || r.Split != 1 || r.Modules != 3 || r.Error != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	g, err := dialect.OpenPEFT(out)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	byName := map[string][]float64{}
	for _, m := range g.Modules {
		byName[m.Path[len("model.layers.0.self_attn."):]] = delta(m)
	}
	got := slices.Concat(byName["q_proj"], byName["k_proj"], byName["v_proj"])
	if !slices.Equal(got, delta(f.Modules[0])) {
		t.Error("the parts do not make the whole")
	}
}

func ExampleApply() {
	dir, _ := os.MkdirTemp("", "normalize")
	defer os.RemoveAll(dir)
	a := &adapter.Adapter{Modules: []*adapter.Module{module("l.0.q", dtype.F32, 4, 8, 6, 5), module("l.0.v", dtype.F32, 2, 8, 6, 5)}}
	if err := dialect.WritePEFT(filepath.Join(dir, "a"), a, dialect.WriteOptions{}); err != nil {
		fmt.Println(err)
		return
	}
	f, _ := dialect.OpenPEFT(filepath.Join(dir, "a"))
	defer f.Close()
	p, _ := validate.ParseProfile("sglang")
	r, err := normalize.Apply(context.Background(), filepath.Join(dir, "out"), f, p, normalize.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(r.Folded, "folded,", r.Padded, "padded, scaling", r.Scaling, "error", r.Error)
	// Output: 1 folded, 1 padded, scaling 2 error 0
}

// TestNotFinite: what cannot be measured is not proven.
func TestNotFinite(t *testing.T) {
	for _, x := range []float64{math.NaN(), math.Inf(1)} {
		m := module("l.0.q", dtype.F32, 4, 8, 6, 5)
		b := m.B.Float64s()
		b[3] = x
		m.B = adapter.NewTensor(dtype.F32, m.B.Shape, b)
		f := write(t, &adapter.Adapter{Modules: []*adapter.Module{m, module("l.1.q", dtype.F32, 2, 7, 6, 5)}})
		_, err := normalize.Apply(context.Background(), filepath.Join(t.TempDir(), "out"), f, profile(t, "sglang"), normalize.Options{})
		var e *rule.Error
		if !errors.As(err, &e) || e.Rule != "AD017" {
			t.Errorf("%v: %v", x, err)
		}
	}
}
