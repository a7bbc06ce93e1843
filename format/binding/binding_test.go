package binding_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/binding"
	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/note"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/format/safetensors"
	"github.com/loratool/loratool/testdata/fixture"
)

// filled makes a tensor of F32 whose bytes tell tensors and elements apart.
func filled(name string, seed int, shape ...int) safetensors.NamedData {
	n := 1
	for _, d := range shape {
		n *= d
	}
	values := make([]float32, n)
	for i := range values {
		values[i] = float32(i) + float32(seed)/8
	}
	t := adapter.NewTensor(dtype.F32, shape, values)
	return safetensors.NamedData{Name: name, DType: t.DType, Shape: t.Shape, Data: t.Bytes}
}

func openAdapter(t testing.TB, path string) *dialect.File {
	t.Helper()
	f, err := dialect.OpenPEFT(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// modules makes an adapter for the paths, each of a weight [out, in].
func modules(t testing.TB, dir string, out, in int, paths ...string) string {
	t.Helper()
	var tensors []safetensors.NamedData
	for i, p := range paths {
		tensors = append(tensors, filled("base_model.model."+p+".lora_A.weight", i, 2, in), filled("base_model.model."+p+".lora_B.weight", i, out, 2))
	}
	fixture.Write(t, filepath.Join(dir, dialect.WeightsName), tensors...)
	if err := os.WriteFile(filepath.Join(dir, dialect.ConfigName), []byte(`{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "later": {"x": [1]}}`), 0o666); err != nil {
		t.Fatal(err)
	}
	return dir
}

const q, k = "model.layers.0.q_proj", "model.layers.0.k_proj"

// bind binds an adapter of q and k to a base of one file.
func bind(t testing.TB) (bound string, report *binding.Report) {
	t.Helper()
	dir := t.TempDir()
	fixture.Write(t, filepath.Join(dir, "base", "model.safetensors"), filled(q+".weight", 1, 5, 4), filled(k+".weight", 2, 5, 4), filled("model.norm.weight", 3, 4))
	a := modules(t, filepath.Join(dir, "adapter"), 5, 4, q, k)
	if err := os.WriteFile(filepath.Join(a, "README.md"), []byte("hello\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	bound = filepath.Join(dir, "bound")
	report, err := binding.Write(context.Background(), bound, openAdapter(t, a), fixture.Open(t, filepath.Join(dir, "base")), binding.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return bound, report
}

func TestWrite(t *testing.T) {
	bound, report := bind(t)
	f := openAdapter(t, bound)
	if report.Weights != 2 || !f.Bound() || f.Notes.Version != note.Spec || note.Fingerprint(f.Notes.Base) != report.Fingerprint || len(f.Notes.Tensors) != 4 {
		t.Errorf("report %+v, notes %+v", report, f.Notes)
	}
	if data, err := os.ReadFile(filepath.Join(bound, "README.md")); err != nil || string(data) != "hello\n" {
		t.Errorf("README.md: %q, %v", data, err)
	}
	if !strings.Contains(string(f.Config), `"later": {"x": [1]}`) {
		t.Errorf("config changed: %s", f.Config)
	}
}

// TestCheck holds the binding against bases that hold the same weights in
// other ways, and against wrong ones.
func TestCheck(t *testing.T) {
	bound, _ := bind(t)
	f := openAdapter(t, bound)
	qw, kw := filled(q+".weight", 1, 5, 4), filled(k+".weight", 2, 5, 4)
	named := func(d safetensors.NamedData, name string) safetensors.NamedData { d.Name = name; return d }
	wrong := filled(k+".weight", 2, 5, 4)
	wrong.Data[13] ^= 1
	half := safetensors.NamedData{Name: k + ".weight", DType: dtype.BF16, Shape: []int{5, 4}, Data: make([]byte, 40)}
	for _, c := range []struct {
		name   string
		shards [][]safetensors.NamedData
		want   string // the weight that differs, or ""
	}{
		{"as bound", [][]safetensors.NamedData{{qw, kw}}, ""},
		{"two shards", [][]safetensors.NamedData{{qw}, {kw}}, ""},
		{"other prefix", [][]safetensors.NamedData{{named(qw, "layers.0.q_proj.weight"), named(kw, "layers.0.k_proj.weight")}}, ""},
		{"one bit", [][]safetensors.NamedData{{qw, wrong}}, k + ".weight"},
		{"other dtype", [][]safetensors.NamedData{{qw, half}}, k + ".weight"},
		{"all other", [][]safetensors.NamedData{{filled(q+".weight", 5, 5, 4), filled(k+".weight", 6, 5, 4)}}, k + ".weight"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for i, s := range c.shards {
				fixture.Write(t, filepath.Join(dir, fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(c.shards))), s...)
			}
			err := binding.Check(context.Background(), f.Adapter, fixture.Open(t, dir), binding.Options{})
			e, ok := errors.AsType[*rule.Error](err)
			switch {
			case c.want == "" && err != nil, c.want != "" && (!ok || e.Rule != "LT007" || e.Tensor != c.want):
				t.Errorf("%v, want %q to differ", err, c.want)
			}
		})
	}
}

// TestLayouts: what a module sees has one digest, however the base stores it.
func TestLayouts(t *testing.T) {
	dir := t.TempDir()
	a := openAdapter(t, modules(t, filepath.Join(dir, "a"), 5, 4, q))
	weight := filled(q+".weight", 1, 5, 4)
	digest := func(tensors ...safetensors.NamedData) note.Weight {
		base := filepath.Join(t.TempDir(), "model.safetensors")
		fixture.Write(t, base, tensors...)
		w, err := binding.Compute(context.Background(), a.Adapter, fixture.Open(t, base), binding.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return w[0]
	}
	whole := digest(weight)
	if whole.Name != q+".weight" || !slices.Equal(whole.Shape, []int{5, 4}) {
		t.Errorf("%+v", whole)
	}
	turned := digest(filled(q+".weight", 1, 4, 5))
	if !slices.Equal(turned.Shape, []int{4, 5}) || turned.Digest != whole.Digest {
		t.Errorf("a transposed weight is digested as it is stored: %+v", turned)
	}
}

func TestCancelled(t *testing.T) {
	bound, _ := bind(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	f := openAdapter(t, bound)
	base := fixture.Open(t, filepath.Join(filepath.Dir(bound), "base"))
	if err := binding.Check(ctx, f.Adapter, base, binding.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestLater writes a file of a later minor version again: an optional feature
// that is not known stays, and a required one is refused.
func TestLater(t *testing.T) {
	for _, c := range []struct {
		required string
		refused  bool
	}{{"", false}, {"shiny", true}} {
		dir := t.TempDir()
		a := modules(t, filepath.Join(dir, "a"), 5, 4, q)
		data := []safetensors.NamedData{filled("base_model.model."+q+".lora_A.weight", 0, 2, 4), filled("base_model.model."+q+".lora_B.weight", 0, 5, 2)}
		f, err := os.Create(filepath.Join(a, dialect.WeightsName))
		if err != nil {
			t.Fatal(err)
		}
		meta := map[string]string{note.KeySpec: "1.1", "lora.shiny": "kept", "other": "kept too", note.KeyRequired: c.required}
		if err := safetensors.Write(f, data, meta); err != nil {
			t.Fatal(err)
		}
		f.Close()
		fixture.Write(t, filepath.Join(dir, "base.safetensors"), filled(q+".weight", 1, 5, 4))
		out := filepath.Join(dir, "out")
		_, err = binding.Write(context.Background(), out, openAdapter(t, a), fixture.Open(t, filepath.Join(dir, "base.safetensors")), binding.WriteOptions{})
		if c.refused {
			u, ok := errors.AsType[*rule.Unsupported](err)
			if !ok || u.Rule != "LT003" {
				t.Errorf("%v, want LT003", err)
			}
			if _, err := os.Stat(out); err == nil {
				t.Error("something was written")
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		h := openAdapter(t, out).Weights.Header()
		for key, want := range meta {
			if got, _ := h.Meta(key); got != want {
				t.Errorf("%s is %q, was %q", key, got, want)
			}
		}
		if v, _ := h.Meta("format"); v != "pt" {
			t.Errorf("format is %q", v)
		}
		var provenance struct{ Steps []map[string]string }
		text, _ := h.Meta(note.KeyProvenance)
		if err := json.Unmarshal([]byte(text), &provenance); err != nil || len(provenance.Steps) != 1 || provenance.Steps[0]["step"] != "bind" {
			t.Errorf("provenance %q", text)
		}
	}
}

func ExampleCheck() {
	dir, _ := os.MkdirTemp("", "binding")
	defer os.RemoveAll(dir)
	var t testing.T
	fixture.Write(&t, filepath.Join(dir, "base.safetensors"), filled(q+".weight", 1, 5, 4))
	fixture.Write(&t, filepath.Join(dir, "other.safetensors"), filled(q+".weight", 9, 5, 4))
	a, _ := dialect.OpenPEFT(modules(&t, filepath.Join(dir, "a"), 5, 4, q))
	defer a.Close()
	base, _ := checkpoint.Open(filepath.Join(dir, "base.safetensors"), checkpoint.Options{})
	defer base.Close()
	ctx := context.Background()
	if _, err := binding.Write(ctx, filepath.Join(dir, "bound"), a, base, binding.WriteOptions{}); err != nil {
		fmt.Println(err)
		return
	}
	bound, _ := dialect.OpenPEFT(filepath.Join(dir, "bound"))
	defer bound.Close()
	other, _ := checkpoint.Open(filepath.Join(dir, "other.safetensors"), checkpoint.Options{})
	defer other.Close()
	fmt.Println(binding.Check(ctx, bound.Adapter, base, binding.Options{}))
	err := binding.Check(ctx, bound.Adapter, other, binding.Options{})
	if e, ok := errors.AsType[*rule.Error](err); ok {
		fmt.Println(e.Rule, e.Tensor)
	}
	// Output:
	// <nil>
	// LT007 model.layers.0.q_proj.weight
}

// TestTiedHead binds an adapter of a head to the embedding that the base
// stores for both, and notices another embedding.
func TestTiedHead(t *testing.T) {
	dir := t.TempDir()
	for seed, name := range []string{"base", "other"} {
		fixture.Write(t, filepath.Join(dir, name, "model.safetensors"), filled("model.embed_tokens.weight", seed, 6, 4))
		if err := os.WriteFile(filepath.Join(dir, name, "config.json"), []byte(`{"tie_word_embeddings":true}`), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	f := openAdapter(t, modules(t, filepath.Join(dir, "adapter"), 6, 4, "lm_head"))
	bound, err := binding.Compute(context.Background(), f.Adapter, fixture.Open(t, filepath.Join(dir, "base")), binding.Options{})
	if err != nil || len(bound) != 1 || bound[0].Name != "lm_head.weight" {
		t.Fatalf("bound to %v, %v", bound, err)
	}
	f.Notes = &note.Notes{Base: bound}
	if err := binding.Check(context.Background(), f.Adapter, fixture.Open(t, filepath.Join(dir, "base")), binding.Options{}); err != nil {
		t.Error(err)
	}
	err = binding.Check(context.Background(), f.Adapter, fixture.Open(t, filepath.Join(dir, "other")), binding.Options{})
	if e, ok := errors.AsType[*rule.Error](err); !ok || e.Rule != "LT007" {
		t.Errorf("another embedding gives %v", err)
	}
}
